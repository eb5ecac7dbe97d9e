#!lua flags=allow-oom
-- Replaces a lease where it has this epoch and node.
--
-- KEYS[1] is the key of the lease. ARGV: the epoch and node expected; the new epoch, node, and until when it holds.

local stored = redis.call('HMGET', KEYS[1], 'epoch', 'node')
if (stored[1] or '0') ~= ARGV[1] or (stored[2] or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[3], 'node', ARGV[4], 'expires_at', ARGV[5])
return 1
