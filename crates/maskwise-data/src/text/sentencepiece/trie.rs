//! A byte trie for longest-prefix look-ups: user-defined symbols, unigram pieces and added tokens.

use std::collections::HashMap;

/// Maps byte strings to ids and walks them byte by byte.
#[derive(Debug, Clone)]
pub(in crate::text) struct Trie {
    /// First-byte table of the root, because nearly every walk ends there.
    root: Box<[u32; 256]>,
    children: HashMap<(u32, u8), u32>,
    /// Id that ends at each node.
    values: Vec<Option<u32>>,
}

const NONE: u32 = u32::MAX;

impl Trie {
    pub(in crate::text) fn new<'a>(entries: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let mut trie = Trie { root: Box::new([NONE; 256]), children: HashMap::new(), values: Vec::new() };
        for (text, id) in entries {
            trie.insert(text.as_bytes(), id);
        }
        trie
    }

    fn insert(&mut self, key: &[u8], id: u32) {
        let Some((first, rest)) = key.split_first() else { return };
        let mut node = self.root[usize::from(*first)];
        if node == NONE {
            node = self.add_node();
            self.root[usize::from(*first)] = node;
        }
        for byte in rest {
            node = match self.children.get(&(node, *byte)) {
                Some(next) => *next,
                None => {
                    let next = self.add_node();
                    self.children.insert((node, *byte), next);
                    next
                }
            };
        }
        self.values[node as usize] = Some(id);
    }

    fn add_node(&mut self) -> u32 {
        self.values.push(None);
        (self.values.len() - 1) as u32
    }

    /// Every entry that `text` begins with, shortest first, as (length in bytes, id).
    pub(in crate::text) fn prefixes<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, u32)> + 'a {
        let mut node = NONE;
        let steps = text.iter().enumerate().map_while(move |(at, byte)| {
            node = match at {
                0 => self.root[usize::from(*byte)],
                _ => *self.children.get(&(node, *byte))?,
            };
            if node == NONE { None } else { Some((at + 1, self.values[node as usize])) }
        });
        steps.filter_map(|(length, value)| value.map(|id| (length, id)))
    }

    /// The longest entry that `text` begins with, as (length in bytes, id).
    pub(in crate::text) fn longest_prefix(&self, text: &[u8]) -> Option<(usize, u32)> {
        self.prefixes(text).last()
    }
}

#[cfg(test)]
mod tests {
    use super::Trie;

    #[test]
    fn finds_all_prefixes_and_the_longest() {
        let trie = Trie::new([("a", 1), ("abc", 2), ("b", 3), ("", 9)]);
        assert_eq!(trie.prefixes(b"abcd").collect::<Vec<_>>(), [(1, 1), (3, 2)]);
        assert_eq!(trie.longest_prefix(b"abx"), Some((1, 1)));
        assert_eq!(trie.longest_prefix(b"bc"), Some((1, 3)));
        assert_eq!(trie.longest_prefix(b"c"), None);
        assert_eq!(trie.longest_prefix(b""), None);
    }
}
