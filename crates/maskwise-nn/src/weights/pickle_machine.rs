//! A reader of Python's pickle streams that can build plain values and nothing else.
//!
//! A pickle is a program for a stack machine. This machine knows the operations that PyTorch's checkpoints are made
//! of; a name to import is looked up in the short list of [`Global`], and calling one only ever fills in a value of
//! this crate. Everything else is refused by name. Opcodes: Python's `pickletools`, protocols 2 to 5.
//!
//! Memory is bounded: each operation adds at most one value, containers live in one flat list (so that neither
//! nesting nor dropping recurses), and both the operations and the bytes read are limited.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use super::pickle::{Global, Storage, TensorView, call, persistent_storage};
use super::pickle_reader::{MAXIMUM_NAME_BYTES, PickleError, PickleReader, invalid};

/// Most operations that are carried out: thousands of tensors need a few hundred thousand.
const MAXIMUM_OPERATIONS: usize = 2_000_000;

/// A value on the machine's stack.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Integer(i64),
    Text(Arc<str>),
    Global(Global),
    Storage(Arc<Storage>),
    Tensor(Arc<TensorView>),
    /// Index into [`Heap`].
    Container(usize),
    /// A value that no tensor depends on: floats, bytes, big integers, devices.
    Opaque,
}

impl Value {
    /// What kind of value it is, for messages: the value itself may be of any size.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Text(_) => "text",
            Self::Global(_) => "an import",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
            Self::Container(_) => "a container",
            Self::Opaque => "another value",
        }
    }
}

/// A list, tuple or dictionary.
#[derive(Debug)]
pub(crate) enum Container {
    Sequence(Vec<Value>),
    Dictionary(Vec<(Value, Value)>),
}

/// All containers that a pickle made, and all storages that it refers to.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    containers: Vec<Container>,
    storages: HashMap<Arc<str>, Arc<Storage>>,
    copied_items: usize,
}

impl Heap {
    pub(crate) fn add(&mut self, container: Container) -> Value {
        self.containers.push(container);
        Value::Container(self.containers.len() - 1)
    }

    pub(crate) fn get(&self, index: usize) -> &Container {
        &self.containers[index]
    }

    /// The items of a list or tuple.
    pub(crate) fn sequence(&self, value: &Value) -> Result<&[Value], PickleError> {
        match value {
            Value::Container(index) => match self.get(*index) {
                Container::Sequence(items) => Ok(items),
                Container::Dictionary(_) => invalid("a sequence was expected where a dictionary stands"),
            },
            other => invalid(format!("a sequence was expected where {} stands", other.kind())),
        }
    }

    /// Storages by key.
    pub(crate) fn storages(&self) -> &HashMap<Arc<str>, Arc<Storage>> {
        &self.storages
    }

    /// Notes a storage; one key must always mean the same numbers.
    fn add_storage(&mut self, storage: Storage) -> Result<Value, PickleError> {
        let storage = Arc::new(storage);
        let known = self.storages.entry(storage.key.clone()).or_insert_with(|| storage.clone());
        if (known.element, known.length) != (storage.element, storage.length) {
            return invalid(format!("storage `{}` is described in two ways", storage.key));
        }
        Ok(Value::Storage(storage))
    }

    /// Accounts for items that an operation copies: repeated copies of one long list must not fill the memory.
    pub(crate) fn count_copied(&mut self, items: usize) -> Result<(), PickleError> {
        self.copied_items = self.copied_items.saturating_add(items);
        if self.copied_items > MAXIMUM_OPERATIONS { invalid("it copies too many values") } else { Ok(()) }
    }

    fn sequence_mut(&mut self, value: &Value) -> Result<&mut Vec<Value>, PickleError> {
        if let Value::Container(index) = value
            && let Container::Sequence(items) = &mut self.containers[*index]
        {
            return Ok(items);
        }
        invalid("items are appended to something that is not a list")
    }

    pub(crate) fn dictionary_mut(&mut self, value: &Value) -> Result<&mut Vec<(Value, Value)>, PickleError> {
        if let Value::Container(index) = value
            && let Container::Dictionary(pairs) = &mut self.containers[*index]
        {
            return Ok(pairs);
        }
        invalid("keys are set on something that is not a dictionary")
    }
}

/// Runs one pickle up to its STOP and returns the value it leaves, with the containers that value refers to.
pub(crate) fn run<R: Read>(reader: &mut PickleReader<R>) -> Result<(Heap, Value), PickleError> {
    let mut machine = Machine::default();
    for _ in 0..MAXIMUM_OPERATIONS {
        if let Some(result) = machine.step(reader)? {
            return Ok((machine.heap, result));
        }
    }
    invalid(format!("it has more than {MAXIMUM_OPERATIONS} operations"))
}

#[derive(Default)]
struct Machine {
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    heap: Heap,
}

impl Machine {
    /// Carries out one operation; the result once STOP is met.
    fn step<R: Read>(&mut self, reader: &mut PickleReader<R>) -> Result<Option<Value>, PickleError> {
        let opcode = reader.byte()?;
        match opcode {
            b'.' => return self.pop().map(Some),          // STOP
            0x80 => self.check_protocol(reader.byte()?)?, // PROTO
            0x95 => drop(reader.array::<8>()?),           // FRAME
            b'(' => self.marks.push(self.stack.len()),    // MARK
            b'0' => self.discard()?,                      // POP
            b'1' => drop(self.pop_to_mark()?),            // POP_MARK
            b'2' => self.stack.push(self.top()?.clone()), // DUP
            b'N' => self.stack.push(Value::None),         // NONE
            0x88 => self.stack.push(Value::Bool(true)),   // NEWTRUE
            0x89 => self.stack.push(Value::Bool(false)),  // NEWFALSE
            b'J' => self.push_integer(i32::from_le_bytes(reader.array()?).into()), // BININT
            b'K' => self.push_integer(reader.byte()?.into()), // BININT1
            b'M' => self.push_integer(u16::from_le_bytes(reader.array()?).into()), // BININT2
            0x8a => self.push_long(reader)?,              // LONG1
            b'G' => self.push_opaque(reader.array::<8>()?), // BINFLOAT
            b'X' => {
                let length = u32::from_le_bytes(reader.array()?); // BINUNICODE
                self.push_text(reader.text(length.into())?);
            }
            0x8c | b'U' => {
                let length = reader.byte()?; // SHORT_BINUNICODE, SHORT_BINSTRING (Python 2)
                self.push_text(reader.text(length.into())?);
            }
            0x8d => {
                let length = u64::from_le_bytes(reader.array()?); // BINUNICODE8
                self.push_text(reader.text(length)?);
            }
            b'C' => {
                let length = reader.byte()?; // SHORT_BINBYTES
                let bytes = reader.bytes(length.into())?;
                self.push_opaque(bytes);
            }
            b'B' => {
                let length = u32::from_le_bytes(reader.array()?); // BINBYTES
                let bytes = reader.bytes(length.into())?;
                self.push_opaque(bytes);
            }
            b']' | b')' | 0x8f => self.push_sequence(Vec::new()), // EMPTY_LIST, EMPTY_TUPLE, EMPTY_SET
            b'}' => self.push_dictionary(Vec::new()),             // EMPTY_DICT
            b't' | b'l' | 0x91 => {
                let items = self.pop_to_mark()?; // TUPLE, LIST, FROZENSET
                self.push_sequence(items);
            }
            0x85 => self.gather(1)?, // TUPLE1
            0x86 => self.gather(2)?, // TUPLE2
            0x87 => self.gather(3)?, // TUPLE3
            b'd' => {
                let pairs = pairs(self.pop_to_mark()?)?; // DICT
                self.push_dictionary(pairs);
            }
            b'a' => {
                let item = self.pop()?; // APPEND
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?; // APPENDS, ADDITEMS
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?; // SETITEM
                let key = self.pop()?;
                self.set_items(vec![(key, value)])?;
            }
            b'u' => {
                let pairs = pairs(self.pop_to_mark()?)?; // SETITEMS
                self.set_items(pairs)?;
            }
            b'q' => self.memorise(reader.byte()?.into())?, // BINPUT
            b'r' => self.memorise(u32::from_le_bytes(reader.array()?).into())?, // LONG_BINPUT
            0x94 => self.memorise(self.memo.len() as u64)?, // MEMOIZE
            b'h' => self.recall(reader.byte()?.into())?,   // BINGET
            b'j' => self.recall(u32::from_le_bytes(reader.array()?).into())?, // LONG_BINGET
            b'c' => {
                let module = reader.line()?; // GLOBAL
                let name = reader.line()?;
                self.push_global(&module, &name)?;
            }
            0x93 => {
                let name = self.pop()?; // STACK_GLOBAL
                let module = self.pop()?;
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return invalid("an import whose name is not text");
                };
                self.push_global(&module, &name)?;
            }
            b'R' => self.reduce()?, // REDUCE
            b'b' => self.build()?,  // BUILD
            b'Q' => {
                let identity = self.pop()?; // BINPERSID
                let storage = persistent_storage(&self.heap, &identity)?;
                let value = self.heap.add_storage(storage)?;
                self.stack.push(value);
            }
            b'i' => {
                let (module, name) = (reader.line()?, reader.line()?); // INST
                return Err(refused_import(&module, &name));
            }
            b'o' => return refuse_operation("OBJ"),
            0x81 => return refuse_operation("NEWOBJ"),
            0x92 => return refuse_operation("NEWOBJ_EX"),
            0x82..=0x84 => return refuse_operation("EXT"),
            other => {
                return invalid(format!(
                    "its pickle has the operation {other:#04x}, which weights never need"
                ));
            }
        }
        Ok(None)
    }

    fn check_protocol(&self, protocol: u8) -> Result<(), PickleError> {
        if (2..=5).contains(&protocol) {
            Ok(())
        } else {
            invalid(format!("its pickle protocol is {protocol}"))
        }
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<&Value, PickleError> {
        match self.stack.last() {
            Some(value) if self.stack.len() > self.floor() => Ok(value),
            _ => invalid("its pickle takes a value from an empty stack"),
        }
    }

    fn pop(&mut self) -> Result<Value, PickleError> {
        let value = self.top()?.clone();
        self.stack.pop();
        Ok(value)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => invalid("its pickle closes a group that it never opened"),
        }
    }

    /// POP removes a value, or the mark when the group is empty.
    fn discard(&mut self) -> Result<(), PickleError> {
        if self.stack.len() == self.floor() && self.marks.pop().is_some() {
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn push_integer(&mut self, value: i64) {
        self.stack.push(Value::Integer(value));
    }

    fn push_text(&mut self, text: String) {
        self.stack.push(Value::Text(text.into()));
    }

    fn push_opaque(&mut self, _ignored: impl Sized) {
        self.stack.push(Value::Opaque);
    }

    /// LONG1: two's complement of any length; what does not fit 64 bits cannot be a size.
    fn push_long<R: Read>(&mut self, reader: &mut PickleReader<R>) -> Result<(), PickleError> {
        let length = reader.byte()?;
        let bytes = reader.bytes(length.into())?;
        let fill = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut padded = [fill; 8];
        match padded.get_mut(..bytes.len()) {
            Some(start) => start.copy_from_slice(&bytes),
            None => {
                self.push_opaque(bytes);
                return Ok(());
            }
        }
        self.push_integer(i64::from_le_bytes(padded));
        Ok(())
    }

    fn push_sequence(&mut self, items: Vec<Value>) {
        let value = self.heap.add(Container::Sequence(items));
        self.stack.push(value);
    }

    fn push_dictionary(&mut self, pairs: Vec<(Value, Value)>) {
        let value = self.heap.add(Container::Dictionary(pairs));
        self.stack.push(value);
    }

    fn gather(&mut self, count: usize) -> Result<(), PickleError> {
        let start = self.stack.len().checked_sub(count).filter(|start| *start >= self.floor());
        let Some(start) = start else {
            return invalid("its pickle makes a tuple of more values than there are");
        };
        let items = self.stack.split_off(start);
        self.push_sequence(items);
        Ok(())
    }

    fn append(&mut self, items: Vec<Value>) -> Result<(), PickleError> {
        let list = self.top()?.clone();
        self.heap.sequence_mut(&list)?.extend(items);
        Ok(())
    }

    fn set_items(&mut self, pairs: Vec<(Value, Value)>) -> Result<(), PickleError> {
        let dictionary = self.top()?.clone();
        self.heap.dictionary_mut(&dictionary)?.extend(pairs);
        Ok(())
    }

    fn memorise(&mut self, key: u64) -> Result<(), PickleError> {
        let value = self.top()?.clone();
        self.memo.insert(key, value);
        Ok(())
    }

    fn recall(&mut self, key: u64) -> Result<(), PickleError> {
        match self.memo.get(&key) {
            Some(value) => self.stack.push(value.clone()),
            None => return invalid("its pickle refers to a value that it never stored"),
        }
        Ok(())
    }

    fn push_global(&mut self, module: &str, name: &str) -> Result<(), PickleError> {
        if module.len().max(name.len()) > MAXIMUM_NAME_BYTES {
            return invalid("the name of an import is too long");
        }
        let global = Global::named(module, name).ok_or_else(|| refused_import(module, name))?;
        self.stack.push(Value::Global(global));
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), PickleError> {
        let arguments = self.pop()?;
        let Value::Global(global) = self.pop()? else {
            return invalid("its pickle calls something that is not a function");
        };
        let result = call(&mut self.heap, global, &arguments)?;
        self.stack.push(result);
        Ok(())
    }

    /// BUILD sets attributes. PyTorch hangs `_metadata` (versions of modules) on the dictionary; nothing needs it.
    fn build(&mut self) -> Result<(), PickleError> {
        self.pop()?;
        let target = self.top()?.clone();
        self.heap.dictionary_mut(&target).map(drop).or_else(|_| refuse_operation("BUILD"))
    }
}

/// The name is escaped: it comes from the file and may be shown on a terminal.
fn refused_import(module: &str, name: &str) -> PickleError {
    PickleError::Refused(format!("{module}.{name}").escape_default().to_string())
}

fn refuse_operation<T>(name: &str) -> Result<T, PickleError> {
    Err(PickleError::Refused(format!("the operation {name}")))
}

fn pairs(values: Vec<Value>) -> Result<Vec<(Value, Value)>, PickleError> {
    if !values.len().is_multiple_of(2) {
        return invalid("its pickle has a key without a value");
    }
    let mut values = values.into_iter();
    let mut pairs = Vec::with_capacity(values.len() / 2);
    while let (Some(key), Some(value)) = (values.next(), values.next()) {
        pairs.push((key, value));
    }
    Ok(pairs)
}
