//! The values of a pickle as serde sees them.

use std::cell::Cell;
use std::fmt::Display;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::machine::{Heap, Value};

/// Deepest nesting that is followed; plain data of the field has five levels.
const MAXIMUM_DEPTH: usize = 64;

/// Values that may still be visited. A few bytes can stand for endlessly many, by containers that hold themselves or hold another
/// twice, so the visits are counted; honest files visit each value about once.
#[derive(Debug)]
pub(super) struct Budget(Cell<usize>);

impl Budget {
    pub(super) fn of(heap: &Heap) -> Self {
        let items: usize = heap.sequences.iter().map(Vec::len).sum();
        let pairs: usize = heap.dictionaries.iter().map(Vec::len).sum();
        Self(Cell::new(1024 + 16 * (items + 2 * pairs)))
    }
}

/// A value with its containers at hand.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    heap: &'a Heap,
    value: &'a Value,
    budget: &'a Budget,
    depth: usize,
}

/// What serde reports.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Error(pub(super) String);

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl<'a> Node<'a> {
    pub(super) fn new(heap: &'a Heap, value: &'a Value, budget: &'a Budget) -> Self {
        Self { heap, value, budget, depth: 0 }
    }

    fn inner(self, value: &'a Value) -> Self {
        Self { value, depth: self.depth + 1, ..self }
    }
}

impl<'de> de::Deserializer<'de> for Node<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Some(left) = self.budget.0.get().checked_sub(1).filter(|_| self.depth <= MAXIMUM_DEPTH) else {
            return Err(Error("its lists are nested too deeply, or hold each other".to_owned()));
        };
        self.budget.0.set(left);
        match self.value {
            Value::None => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::Sequence(index) => {
                let items = self.heap.sequences[*index].iter();
                visitor.visit_seq(SeqDeserializer::new(items.map(|item| self.inner(item))))
            }
            Value::Dictionary(index) => {
                let pairs = self.heap.dictionaries[*index].iter();
                visitor.visit_map(MapDeserializer::new(
                    pairs.map(|(key, value)| (self.inner(key), self.inner(value))),
                ))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// What nobody wants is not walked through.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier
    }
}

impl<'de> IntoDeserializer<'de, Error> for Node<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
