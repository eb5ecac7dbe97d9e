//! A heap with four children to a node, of packed entries, re-armed lazily.

use super::{Armed, BATCH, Queue, Verdict, packed};

/// See the module.
#[derive(Debug, Default)]
pub struct QuaternaryHeap {
    armed: Armed,
    heap: Vec<u64>,
}

impl Queue for QuaternaryHeap {
    fn set(&mut self, index: u32, deadline: i64) {
        if self.armed.set(index, deadline) {
            self.heap.push(packed::entry(deadline, index));
            self.rise(self.heap.len() - 1);
        }
    }

    fn look(&mut self, now: i64, due: &mut dyn FnMut(i64, u32)) -> bool {
        let mut left = BATCH;
        while let Some(&first) = self.heap.first().filter(|first| packed::at(**first) < now) {
            if left == 0 {
                return true;
            }
            left -= 1;
            let (at, index) = (packed::at(first), packed::index(first));
            match self.armed.judge(at, index) {
                Verdict::Later(deadline) => {
                    self.heap[0] = packed::entry(deadline, index);
                    self.sink();
                }
                verdict => {
                    self.heap.swap_remove(0);
                    self.sink();
                    if matches!(verdict, Verdict::Due) {
                        due(at, index);
                    }
                }
            }
        }
        false
    }
}

impl QuaternaryHeap {
    fn rise(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / 4;
            if self.heap[parent] <= entry {
                break;
            }
            self.heap[place] = self.heap[parent];
            place = parent;
        }
        self.heap[place] = entry;
    }

    fn sink(&mut self) {
        let Some(&entry) = self.heap.first() else { return };
        let mut place = 0;
        loop {
            let first = place * 4 + 1;
            let children = &self.heap[first.min(self.heap.len())..(first + 4).min(self.heap.len())];
            let Some((offset, &least)) = children.iter().enumerate().min_by_key(|(_, child)| **child) else { break };
            if least >= entry {
                break;
            }
            self.heap[place] = least;
            place = first + offset;
        }
        self.heap[place] = entry;
    }
}
