//! The stack machine that a pickle is a program for, without the instructions that call anything.

use std::collections::HashMap;
use std::sync::Arc;

use super::PickleError;
use super::operands::{Operands, shortened};

/// A value. Lists and dictionaries live in the [`Heap`], since a pickle changes them after it has referred to them.
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Arc<str>),
    /// A list or a tuple: index into [`Heap::sequences`].
    Sequence(usize),
    /// Index into [`Heap::dictionaries`].
    Dictionary(usize),
}

/// The containers of a pickle. They may hold each other, and themselves.
#[derive(Debug, Default)]
pub(super) struct Heap {
    pub(super) sequences: Vec<Vec<Value>>,
    pub(super) dictionaries: Vec<Vec<(Value, Value)>>,
}

/// Runs a pickle up to its STOP; the value it leaves and the containers that it refers to.
pub(super) fn run(bytes: &[u8]) -> Result<(Heap, Value), PickleError> {
    let mut operands = Operands::new(bytes);
    let mut machine = Machine::default();
    loop {
        if let Some(result) = machine.step(&mut operands)? {
            return Ok((machine.heap, result));
        }
    }
}

#[derive(Default)]
struct Machine {
    stack: Vec<Value>,
    /// Heights of the stack at the open MARKs.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    heap: Heap,
}

impl Machine {
    /// Carries out one operation; the result once STOP is met.
    fn step(&mut self, operands: &mut Operands<'_>) -> Result<Option<Value>, PickleError> {
        let value = match operands.opcode()? {
            b'.' => return self.pop(operands).map(Some), // STOP
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'I' => integer_or_bool(operands)?,            // INT
            b'L' => Value::Integer(operands.parse()?),     // LONG
            b'K' => Value::Integer(operands.u8()? as i64), // BININT1
            b'M' => Value::Integer(u16::from_le_bytes(operands.array()?).into()), // BININT2
            b'J' => Value::Integer(i32::from_le_bytes(operands.array()?).into()), // BININT
            0x8a => {
                let length = operands.u8()?; // LONG1
                Value::Integer(operands.long(length)?)
            }
            0x8b => {
                let length = operands.u32()?; // LONG4
                Value::Integer(operands.long(length)?)
            }
            b'F' => Value::Float(operands.parse()?), // FLOAT
            b'G' => Value::Float(f64::from_be_bytes(operands.array()?)), // BINFLOAT
            b'S' => Value::Text(operands.quoted()?.into()), // STRING
            b'V' => Value::Text(operands.escaped()?.into()), // UNICODE
            b'U' | 0x8c => {
                let length = operands.u8()?; // SHORT_BINSTRING, SHORT_BINUNICODE
                Value::Text(operands.text(length)?.into())
            }
            b'T' | b'X' => {
                let length = operands.u32()?; // BINSTRING, BINUNICODE
                Value::Text(operands.text(length)?.into())
            }
            0x8d => {
                let length = operands.u64()?; // BINUNICODE8
                Value::Text(operands.text(length)?.into())
            }
            b']' | b')' => self.sequence(Vec::new()), // EMPTY_LIST, EMPTY_TUPLE
            b'}' => self.dictionary(Vec::new()),      // EMPTY_DICT
            b'l' | b't' => {
                let items = self.pop_to_mark(operands)?; // LIST, TUPLE
                self.sequence(items)
            }
            b'd' => {
                let items = self.pop_to_mark(operands)?; // DICT
                let pairs = pairs(items, operands)?;
                self.dictionary(pairs)
            }
            count @ 0x85..=0x87 => {
                let items = self.pop_many(usize::from(count - 0x84), operands)?; // TUPLE1, TUPLE2, TUPLE3
                self.sequence(items)
            }
            b'2' => self.top(operands)?.clone(), // DUP
            b'g' => {
                let key = operands.parse()?; // GET
                self.recall(key, operands)?
            }
            b'h' => {
                let key = operands.u8()?; // BINGET
                self.recall(key, operands)?
            }
            b'j' => {
                let key = operands.u32()?; // LONG_BINGET
                self.recall(key, operands)?
            }
            other => return self.change(other, operands).map(|()| None),
        };
        self.stack.push(value);
        Ok(None)
    }

    /// The operations that push nothing.
    fn change(&mut self, opcode: u8, operands: &mut Operands<'_>) -> Result<(), PickleError> {
        match opcode {
            0x80 => check_protocol(operands),        // PROTO
            0x95 => operands.array::<8>().map(drop), // FRAME
            b'(' => {
                self.marks.push(self.stack.len()); // MARK
                Ok(())
            }
            b'0' => self.discard(operands),               // POP
            b'1' => self.pop_to_mark(operands).map(drop), // POP_MARK
            b'a' => {
                let item = self.pop(operands)?; // APPEND
                self.extend(vec![item], operands)
            }
            b'e' => {
                let items = self.pop_to_mark(operands)?; // APPENDS
                self.extend(items, operands)
            }
            b's' => {
                let items = self.pop_many(2, operands)?; // SETITEM
                self.set_items(items, operands)
            }
            b'u' => {
                let items = self.pop_to_mark(operands)?; // SETITEMS
                self.set_items(items, operands)
            }
            b'p' => {
                let key = operands.parse()?; // PUT
                self.memorise(key, operands)
            }
            b'q' => {
                let key = operands.u8()?; // BINPUT
                self.memorise(key, operands)
            }
            b'r' => {
                let key = operands.u32()?; // LONG_BINPUT
                self.memorise(key, operands)
            }
            0x94 => self.memorise(self.memo.len() as u64, operands), // MEMOIZE
            b'c' | b'i' => {
                let (module, name) = (operands.line()?, operands.line()?); // GLOBAL, INST
                Err(refused_name(module, name))
            }
            0x93 => self.refuse_stack_global(operands), // STACK_GLOBAL
            other => match refused_operation(other) {
                Some(name) => Err(PickleError::Refused(name.to_owned())),
                None => operands.invalid(format!("the unknown operation {other:#04x}")),
            },
        }
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self, operands: &Operands<'_>) -> Result<&Value, PickleError> {
        match self.stack.last() {
            Some(value) if self.stack.len() > self.floor() => Ok(value),
            _ => operands.invalid("a value is taken from an empty stack"),
        }
    }

    fn pop(&mut self, operands: &Operands<'_>) -> Result<Value, PickleError> {
        let value = self.top(operands)?.clone();
        self.stack.pop();
        Ok(value)
    }

    fn pop_many(&mut self, count: usize, operands: &Operands<'_>) -> Result<Vec<Value>, PickleError> {
        match self.stack.len().checked_sub(count).filter(|start| *start >= self.floor()) {
            Some(start) => Ok(self.stack.split_off(start)),
            None => operands.invalid("more values are taken than there are"),
        }
    }

    fn pop_to_mark(&mut self, operands: &Operands<'_>) -> Result<Vec<Value>, PickleError> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => operands.invalid("a group is closed that was never opened"),
        }
    }

    /// POP removes a value, or the mark where the group is empty.
    fn discard(&mut self, operands: &Operands<'_>) -> Result<(), PickleError> {
        if self.stack.len() == self.floor() && self.marks.pop().is_some() {
            return Ok(());
        }
        self.pop(operands).map(drop)
    }

    fn sequence(&mut self, items: Vec<Value>) -> Value {
        self.heap.sequences.push(items);
        Value::Sequence(self.heap.sequences.len() - 1)
    }

    fn dictionary(&mut self, pairs: Vec<(Value, Value)>) -> Value {
        self.heap.dictionaries.push(pairs);
        Value::Dictionary(self.heap.dictionaries.len() - 1)
    }

    fn extend(&mut self, items: Vec<Value>, operands: &Operands<'_>) -> Result<(), PickleError> {
        let Value::Sequence(index) = *self.top(operands)? else {
            return operands.invalid("items are added to something that is not a list");
        };
        self.heap.sequences[index].extend(items);
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Value>, operands: &Operands<'_>) -> Result<(), PickleError> {
        let Value::Dictionary(index) = *self.top(operands)? else {
            return operands.invalid("keys are set on something that is not a dictionary");
        };
        self.heap.dictionaries[index].extend(pairs(items, operands)?);
        Ok(())
    }

    fn memorise(&mut self, key: u64, operands: &Operands<'_>) -> Result<(), PickleError> {
        let value = self.top(operands)?.clone();
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, key: u64, operands: &Operands<'_>) -> Result<Value, PickleError> {
        match self.memo.get(&key) {
            Some(value) => Ok(value.clone()),
            None => operands.invalid("a value is recalled that was never stored"),
        }
    }

    fn refuse_stack_global(&mut self, operands: &Operands<'_>) -> Result<(), PickleError> {
        match (self.pop(operands)?, self.pop(operands)?) {
            (Value::Text(name), Value::Text(module)) => Err(refused_name(&module, &name)),
            _ => operands.invalid("an import whose name is not text"),
        }
    }
}

/// `I01` and `I00` are the booleans of protocol 0.
fn integer_or_bool(operands: &mut Operands<'_>) -> Result<Value, PickleError> {
    let mut ahead = operands.clone();
    match ahead.line()? {
        digits @ ("00" | "01") => {
            *operands = ahead;
            Ok(Value::Bool(digits == "01"))
        }
        _ => operands.parse().map(Value::Integer),
    }
}

fn check_protocol(operands: &mut Operands<'_>) -> Result<(), PickleError> {
    match operands.u8()? {
        0..=5 => Ok(()),
        other => operands.invalid(format!("the unknown protocol {other}")),
    }
}

fn pairs(values: Vec<Value>, operands: &Operands<'_>) -> Result<Vec<(Value, Value)>, PickleError> {
    if !values.len().is_multiple_of(2) {
        return operands.invalid("a key without a value");
    }
    let mut values = values.into_iter();
    Ok(std::iter::from_fn(|| values.next().zip(values.next())).collect())
}

/// The name is escaped: it comes from the file and may be shown on a terminal.
fn refused_name(module: &str, name: &str) -> PickleError {
    PickleError::Refused(format!("{}.{}", shortened(module), shortened(name)).escape_default().to_string())
}

/// Operations that exist but make something else than plain data.
fn refused_operation(opcode: u8) -> Option<&'static str> {
    Some(match opcode {
        b'R' => "the call of a function (REDUCE)",
        b'b' => "the state of an object (BUILD)",
        b'o' => "an object (OBJ)",
        0x81 => "an object (NEWOBJ)",
        0x92 => "an object (NEWOBJ_EX)",
        0x82..=0x84 => "a registered object (EXT)",
        b'P' | b'Q' => "an object outside of the file (PERSID)",
        b'B' | b'C' | 0x8e | 0x96 => "raw bytes",
        0x8f..=0x91 => "a set",
        0x97 | 0x98 => "a buffer outside of the file",
        _ => return None,
    })
}
