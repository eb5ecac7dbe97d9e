//! Places in the order of their slugs: 4 to 8 bytes for each, whatever the length of a slug.

/// Where a record lies in the index.
pub(super) type Place = u32;

/// A chunk that grows beyond this is cut in two.
const CHUNK_MAX: usize = 1024;

/// Places, ordered by slugs that somebody else keeps.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// None is empty.
    chunks: Vec<Vec<Place>>,
}

impl Order {
    /// The order of all these.
    pub(super) fn sorted<'a>(places: impl Iterator<Item = Place>, slug_of: impl Fn(Place) -> &'a str) -> Self {
        // Nearly all comparisons are settled by the beginning, which lies at hand.
        let mut keyed: Vec<(u128, Place)> = places.map(|place| (beginning(slug_of(place)), place)).collect();
        keyed.sort_unstable_by(|(a, left), (b, right)| a.cmp(b).then_with(|| slug_of(*left).cmp(slug_of(*right))));
        let chunks = keyed.chunks(CHUNK_MAX / 2).map(|chunk| chunk.iter().map(|(_, place)| *place).collect());
        Self { chunks: chunks.collect() }
    }

    pub(super) fn insert<'a>(&mut self, place: Place, slug_of: impl Fn(Place) -> &'a str) {
        let slug = slug_of(place);
        let (at, within) = self.seek(slug, &slug_of);
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(vec![place]);
            return;
        };
        chunk.insert(within, place);
        if chunk.len() > CHUNK_MAX {
            let rest = chunk.split_off(CHUNK_MAX / 2);
            self.chunks.insert(at + 1, rest);
        }
    }

    /// Takes a place out; its slug must be still what it was ordered by.
    pub(super) fn remove<'a>(&mut self, place: Place, slug_of: impl Fn(Place) -> &'a str) {
        let (mut at, mut within) = self.seek(slug_of(place), &slug_of);
        // Another place may have the same slug already, within one batch.
        while let Some(chunk) = self.chunks.get_mut(at) {
            match chunk.get(within) {
                Some(found) if *found == place => {
                    chunk.remove(within);
                    if chunk.is_empty() {
                        self.chunks.remove(at);
                    }
                    return;
                }
                Some(found) if slug_of(*found) > slug_of(place) => return,
                Some(_) => within += 1,
                None => (at, within) = (at + 1, 0),
            }
        }
    }

    /// The places whose slugs come behind this one.
    pub(super) fn behind<'a>(
        &self,
        after: Option<&str>,
        slug_of: impl Fn(Place) -> &'a str,
    ) -> impl Iterator<Item = Place> {
        let (at, within) = after.map_or((0, 0), |after| self.seek(after, &slug_of));
        let from_there = self.chunks.get(at..).unwrap_or_default().iter().flatten().skip(within).copied();
        let equal = from_there.clone().take_while(|place| Some(slug_of(*place)) == after).count();
        from_there.skip(equal)
    }

    /// Where the first place is whose slug is not before this one: its chunk and its place in it, or the end of the chunk
    /// before.
    fn seek<'a>(&self, slug: &str, slug_of: &impl Fn(Place) -> &'a str) -> (usize, usize) {
        let begins_before = |chunk: &Vec<Place>| chunk.first().is_some_and(|first| slug_of(*first) < slug);
        let at = self.chunks.partition_point(begins_before).saturating_sub(1);
        let within = |chunk: &Vec<Place>| chunk.partition_point(|place| slug_of(*place) < slug);
        (at, self.chunks.get(at).map_or(0, within))
    }
}

/// The first bytes of a text as a number that orders as they do.
fn beginning(text: &str) -> u128 {
    let mut bytes = [0; 16];
    let length = text.len().min(bytes.len());
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Slugs by place, as long as they exist.
    type Slugs = BTreeMap<Place, String>;

    fn places(slugs: &Slugs, after: Option<&str>) -> Vec<Place> {
        let mut ordered: Vec<_> = slugs.iter().map(|(place, slug)| (slug.as_str(), *place)).collect();
        ordered.sort_unstable();
        ordered
            .into_iter()
            .filter(|(slug, _)| after.is_none_or(|after| *slug > after))
            .map(|(_, place)| place)
            .collect()
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_list(
            loaded in prop::collection::btree_set("[a-c]{1,3}|monitor-of-many-[0-9]{2}", 0..40),
            changes in prop::collection::vec(("[a-c]{1,3}|monitor-of-many-[0-9]{2}", any::<bool>()), 0..200),
            after in prop::option::of("[a-c]{1,3}|monitor-of-many-[0-9]{2}"),
        ) {
            let mut slugs: Slugs = (0..).zip(loaded).collect();
            let mut order = Order::sorted(slugs.keys().copied(), |place| slugs[&place].as_str());
            for (next, (slug, stays)) in (1000..).zip(changes) {
                let known = slugs.iter().find(|(_, known)| **known == slug).map(|(place, _)| *place);
                match known {
                    Some(place) if !stays => {
                        order.remove(place, |place| slugs[&place].as_str());
                        slugs.remove(&place);
                    }
                    Some(_) => {}
                    None => {
                        slugs.insert(next, slug);
                        order.insert(next, |place| slugs[&place].as_str());
                    }
                }
            }
            let after = after.as_deref();
            let listed: Vec<_> = order.behind(after, |place| slugs[&place].as_str()).collect();
            prop_assert_eq!(listed, places(&slugs, after));
        }
    }

    #[test]
    fn chunks_are_cut_and_go_when_they_are_empty() {
        let slugs: Slugs = (0..10_000).map(|place| (place, format!("job-{:05}", place * 7919 % 10_000))).collect();
        let slug_of = |place: Place| slugs[&place].as_str();
        let mut order = Order::default();
        (0..10_000).for_each(|place| order.insert(place, slug_of));
        assert_eq!(order.behind(None, slug_of).collect::<Vec<_>>(), places(&slugs, None));
        assert!(order.chunks.iter().all(|chunk| (1..=CHUNK_MAX).contains(&chunk.len())));
        (0..10_000).for_each(|place| order.remove(place, slug_of));
        assert!(order.chunks.is_empty());
    }
}
