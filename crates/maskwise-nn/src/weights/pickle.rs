//! What PyTorch's checkpoints say in their pickles: storages, views on them, and the dictionaries that name them.
//!
//! The reference for the calling conventions is `torch/_utils.py` and `torch/serialization.py` of PyTorch.

use std::sync::Arc;

use super::element::{ElementType, checked_element_count};
use super::pickle_machine::{Container, Heap, Value};
use super::pickle_reader::{PickleError, invalid};

/// The names that a checkpoint may import, all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    /// `collections.OrderedDict`
    OrderedDict,
    /// `torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`: as above, with the type beside an untyped storage
    RebuildTensorV3,
    /// `torch._utils._rebuild_parameter` and `_rebuild_parameter_with_state`
    RebuildParameter,
    /// `torch._tensor._rebuild_from_type_v2`
    RebuildFromType,
    /// `torch.FloatStorage` and its like
    TypedStorage(ElementType),
    /// `torch.storage.UntypedStorage`
    UntypedStorage,
    /// `torch.float32` and its like
    Dtype(ElementType),
    /// `torch.Size`
    Size,
    /// `torch.device`
    Device,
    /// `torch.Tensor` and `torch.nn.parameter.Parameter`, named as types only
    TensorType,
}

impl Global {
    pub(crate) fn named(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTensorV3,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Self::RebuildParameter
            }
            ("torch._tensor", "_rebuild_from_type_v2") => Self::RebuildFromType,
            ("torch" | "torch.storage", "UntypedStorage") => Self::UntypedStorage,
            ("torch", "Size") => Self::Size,
            ("torch", "device") => Self::Device,
            ("torch", "Tensor") | ("torch.nn.parameter", "Parameter") => Self::TensorType,
            ("torch" | "torch.cuda", name) => return storage_type(name).or_else(|| dtype(name)),
            _ => return None,
        })
    }
}

fn storage_type(name: &str) -> Option<Global> {
    let element = match name {
        "BoolStorage" => ElementType::Bool,
        "ByteStorage" => ElementType::U8,
        "CharStorage" => ElementType::I8,
        "ShortStorage" => ElementType::I16,
        "IntStorage" => ElementType::I32,
        "LongStorage" => ElementType::I64,
        "HalfStorage" => ElementType::F16,
        "BFloat16Storage" => ElementType::BF16,
        "FloatStorage" => ElementType::F32,
        "DoubleStorage" => ElementType::F64,
        _ => return None,
    };
    Some(Global::TypedStorage(element))
}

fn dtype(name: &str) -> Option<Global> {
    let element = match name {
        "bool" => ElementType::Bool,
        "uint8" => ElementType::U8,
        "int8" => ElementType::I8,
        "uint16" => ElementType::U16,
        "int16" => ElementType::I16,
        "uint32" => ElementType::U32,
        "int32" => ElementType::I32,
        "int64" => ElementType::I64,
        "float16" => ElementType::F16,
        "bfloat16" => ElementType::BF16,
        "float32" => ElementType::F32,
        "float64" => ElementType::F64,
        _ => return None,
    };
    Some(Global::Dtype(element))
}

/// A run of numbers in the file, shared by any number of tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    /// Name under which the container keeps it.
    pub(crate) key: Arc<str>,
    /// Its type; untyped storages are counted in bytes.
    pub(crate) element: Option<ElementType>,
    /// Its whole length in bytes.
    pub(crate) length: u64,
    /// Where the visible part begins, in bytes (files before PyTorch 0.4 store views of storages).
    pub(crate) view_start: u64,
    /// Length of the visible part, in bytes.
    pub(crate) view_length: u64,
}

/// A tensor as a view on a storage; checked to lie within it.
#[derive(Debug, Clone)]
pub(crate) struct TensorView {
    pub(crate) storage: Arc<Storage>,
    pub(crate) element: ElementType,
    /// First element, in bytes from the start of the whole storage.
    pub(crate) offset: u64,
    pub(crate) shape: Vec<usize>,
    /// `None` for row-major.
    pub(crate) strides: Option<Vec<usize>>,
}

/// Reads `("storage", type, key, location, element count[, view])`.
pub(crate) fn persistent_storage(heap: &Heap, identity: &Value) -> Result<Storage, PickleError> {
    let [Value::Text(kind), Value::Global(storage_type), Value::Text(key), _location, count, view @ ..] =
        heap.sequence(identity)?
    else {
        return invalid("a reference to outside data does not have PyTorch's form");
    };
    let (element, size) = match storage_type {
        Global::TypedStorage(element) => (Some(*element), element.size() as u64),
        Global::UntypedStorage => (None, 1),
        _ => return invalid("a storage has no storage type"),
    };
    if &**kind != "storage" || key.len() > MAXIMUM_TEXT_BYTES {
        return invalid("a reference to outside data does not name a storage");
    }
    let bytes = |value: &Value| match as_length(value)?.checked_mul(size) {
        Some(bytes) => Ok(bytes),
        None => invalid(format!("storage `{key}` is impossibly large")),
    };
    let length = bytes(count)?;
    let (view_start, view_length) = match view {
        [] | [Value::None] => (0, length),
        [view] => match heap.sequence(view)? {
            [_key, start, count] => (bytes(start)?, bytes(count)?),
            _ => return invalid("a view of a storage does not have PyTorch's form"),
        },
        _ => return invalid("a reference to a storage has too many parts"),
    };
    if view_start.checked_add(view_length).is_none_or(|end| end > length) {
        return invalid(format!("a view reaches beyond storage `{key}`"));
    }
    Ok(Storage { key: key.clone(), element, length, view_start, view_length })
}

/// No function on the list takes more.
const MAXIMUM_ARGUMENTS: usize = 16;
/// Most axes of a tensor, PyTorch's own limit.
const MAXIMUM_AXES: usize = 64;
/// Longest storage key, and longest tensor name with its prefixes.
const MAXIMUM_TEXT_BYTES: usize = 1024;

/// What calling one of the names gives.
pub(crate) fn call(heap: &mut Heap, global: Global, arguments: &Value) -> Result<Value, PickleError> {
    let parts = heap.sequence(arguments)?;
    if parts.len() > MAXIMUM_ARGUMENTS {
        return invalid("a call has too many arguments");
    }
    let parts = parts.to_vec();
    match (global, parts.as_slice()) {
        (Global::OrderedDict, []) => Ok(heap.add(Container::Dictionary(Vec::new()))),
        (Global::OrderedDict, [items]) => ordered_dictionary(heap, items),
        (Global::RebuildTensor, [storage, offset, shape, strides]) => {
            rebuild_tensor(heap, storage, offset, shape, strides, None)
        }
        (Global::RebuildTensor, [storage, offset, shape, strides, _gradient, _hooks, metadata @ ..]) => {
            refuse_metadata(heap, metadata)?;
            rebuild_tensor(heap, storage, offset, shape, strides, None)
        }
        (
            Global::RebuildTensorV3,
            [
                storage,
                offset,
                shape,
                strides,
                _gradient,
                _hooks,
                Value::Global(Global::Dtype(element)),
                metadata @ ..,
            ],
        ) => {
            refuse_metadata(heap, metadata)?;
            rebuild_tensor(heap, storage, offset, shape, strides, Some(*element))
        }
        (Global::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => Ok(tensor.clone()),
        (
            Global::RebuildFromType,
            [Value::Global(function), Value::Global(Global::TensorType), inner, _state],
        ) if *function != Global::RebuildFromType => call(heap, *function, inner),
        (Global::Size, [shape]) => heap.sequence(shape).map(|_| shape.clone()),
        (Global::Device, _) => Ok(Value::Opaque),
        _ => invalid(format!("{global:?} is called with arguments that PyTorch never gives it")),
    }
}

fn ordered_dictionary(heap: &mut Heap, items: &Value) -> Result<Value, PickleError> {
    let count = heap.sequence(items)?.len();
    heap.count_copied(count)?;
    let mut pairs = Vec::with_capacity(count);
    for item in heap.sequence(items)? {
        let [key, value] = heap.sequence(item)? else {
            return invalid("a dictionary is made from something other than pairs");
        };
        pairs.push((key.clone(), value.clone()));
    }
    Ok(heap.add(Container::Dictionary(pairs)))
}

/// Metadata marks tensors whose stored values are to be conjugated or negated; weights never are.
fn refuse_metadata(heap: &Heap, metadata: &[Value]) -> Result<(), PickleError> {
    let is_empty = |value: &Value| match value {
        Value::None => true,
        Value::Container(index) => {
            matches!(heap.get(*index), Container::Dictionary(pairs) if pairs.is_empty())
        }
        _ => false,
    };
    if metadata.iter().all(is_empty) { Ok(()) } else { invalid("a tensor is stored conjugated or negated") }
}

/// Most elements of a view that repeats elements of a smaller storage: a few bytes must not claim all memory.
const MAXIMUM_REPEATED_ELEMENTS: u64 = 1 << 24;

fn rebuild_tensor(
    heap: &Heap,
    storage: &Value,
    offset: &Value,
    shape: &Value,
    strides: &Value,
    element: Option<ElementType>,
) -> Result<Value, PickleError> {
    let Value::Storage(storage) = storage else {
        return invalid("a tensor has no storage");
    };
    let Some(element) = element.or(storage.element) else {
        return invalid(format!("the tensor on storage `{}` has no element type", storage.key));
    };
    let shape = as_lengths(heap, shape)?;
    let strides = as_lengths(heap, strides)?;
    let offset = as_length(offset)?;
    let view = locate_view(storage, element, offset, shape, strides);
    match view {
        Some(view) => Ok(Value::Tensor(Arc::new(view))),
        None => invalid(format!("a tensor does not lie within its storage `{}`", storage.key)),
    }
}

/// The view, if every element of it lies in the visible part of the storage and its size is sensible.
fn locate_view(
    storage: &Arc<Storage>,
    element: ElementType,
    offset: u64,
    shape: Vec<usize>,
    strides: Vec<usize>,
) -> Option<TensorView> {
    let available = storage.view_length / element.size() as u64;
    let count = checked_element_count(&shape)? as u64;
    if shape.len() != strides.len() || count > available.max(MAXIMUM_REPEATED_ELEMENTS) {
        return None;
    }
    if count > 0 {
        let mut last = offset;
        for (&length, &stride) in shape.iter().zip(&strides) {
            last = last.checked_add((length as u64 - 1).checked_mul(stride as u64)?)?;
        }
        if last >= available {
            return None;
        }
    } else if offset > available {
        return None;
    }
    let strides = if count == 0 || is_row_major(&shape, &strides) { None } else { Some(strides) };
    let offset = storage.view_start + offset * element.size() as u64;
    Some(TensorView { storage: storage.clone(), element, offset, shape, strides })
}

/// Whether the elements lie one after the other; the stride of an axis of length one does not matter.
fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    for (&length, &stride) in shape.iter().zip(strides).rev() {
        if length != 1 && stride != expected {
            return false;
        }
        expected *= length;
    }
    true
}

fn as_length(value: &Value) -> Result<u64, PickleError> {
    match value {
        Value::Integer(integer) if *integer >= 0 => Ok(*integer as u64),
        other => invalid(format!("a length was expected where {} stands", other.kind())),
    }
}

fn as_lengths(heap: &Heap, value: &Value) -> Result<Vec<usize>, PickleError> {
    let too_large = || PickleError::Invalid("a length does not fit this machine".to_string());
    let length = |value| usize::try_from(as_length(value)?).map_err(|_| too_large());
    let items = heap.sequence(value)?;
    if items.len() > MAXIMUM_AXES {
        return invalid(format!("a tensor has {} axes", items.len()));
    }
    items.iter().map(length).collect()
}

/// Dictionaries that hold nothing but the one that matters, as training frameworks write them.
const WRAPPERS: [&str; 4] = ["state_dict", "model", "model_state_dict", "module"];
/// Deepest nesting of dictionaries that is followed.
const MAXIMUM_DEPTH: usize = 16;
/// Most values that are looked at: shared dictionaries could otherwise be walked for ever.
const MAXIMUM_VISITS: usize = 200_000;

/// Every tensor of a checkpoint by name; names of nested dictionaries are joined with dots.
///
/// With `entry`, only what lies under those keys, one inside the other. Without, a dictionary that holds no tensor
/// itself but one under a usual name (`state_dict`, `model`, …) stands for that one.
pub(crate) fn collect_tensors(
    heap: &Heap,
    root: &Value,
    entry: &[&str],
) -> Result<Vec<(String, Arc<TensorView>)>, PickleError> {
    let mut root = root;
    for key in entry {
        root = match child(heap, root, key) {
            Some(child) => child,
            None => return invalid(format!("it has no entry `{}`", entry.join("."))),
        };
    }
    if entry.is_empty() {
        root = unwrap(heap, root);
    }
    if !matches!(root, Value::Container(_)) {
        return invalid("it does not hold a dictionary of tensors");
    }
    let mut collector = Collector { heap, tensors: Vec::new(), visits: 0 };
    collector.visit(String::new(), root, 0)?;
    if collector.tensors.is_empty() {
        return invalid("it holds no tensors");
    }
    Ok(collector.tensors)
}

fn child<'a>(heap: &'a Heap, value: &Value, key: &str) -> Option<&'a Value> {
    let Value::Container(index) = value else { return None };
    let Container::Dictionary(pairs) = heap.get(*index) else { return None };
    let is_named = |name: &Value| matches!(name, Value::Text(text) if &**text == key);
    pairs.iter().rev().find(|(name, _)| is_named(name)).map(|(_, value)| value)
}

fn unwrap<'a>(heap: &'a Heap, root: &'a Value) -> &'a Value {
    let mut current = root;
    for _ in 0..MAXIMUM_DEPTH {
        let Value::Container(index) = current else { break };
        let Container::Dictionary(pairs) = heap.get(*index) else { break };
        if pairs.iter().any(|(_, value)| matches!(value, Value::Tensor(_))) {
            break;
        }
        let wrapped = WRAPPERS.iter().find_map(|name| child(heap, current, name));
        match wrapped {
            Some(inner @ Value::Container(_)) => current = inner,
            _ => break,
        }
    }
    current
}

struct Collector<'a> {
    heap: &'a Heap,
    tensors: Vec<(String, Arc<TensorView>)>,
    visits: usize,
}

impl Collector<'_> {
    fn visit(&mut self, name: String, value: &Value, depth: usize) -> Result<(), PickleError> {
        self.visits += 1;
        if name.len() > MAXIMUM_TEXT_BYTES {
            return invalid("the name of a tensor is too long");
        }
        if self.visits > MAXIMUM_VISITS || depth > MAXIMUM_DEPTH {
            return invalid("its dictionaries are nested too deeply or hold too many entries");
        }
        match value {
            Value::Tensor(view) => self.tensors.push((name, view.clone())),
            Value::Container(index) => match self.heap.get(*index) {
                Container::Dictionary(pairs) => {
                    for (key, value) in pairs {
                        let key = match key {
                            Value::Text(key) => key.to_string(),
                            Value::Integer(key) => key.to_string(),
                            _ => continue,
                        };
                        self.visit(joined(&name, &key), value, depth + 1)?;
                    }
                }
                Container::Sequence(items) => {
                    for (position, value) in items.iter().enumerate() {
                        self.visit(joined(&name, &position.to_string()), value, depth + 1)?;
                    }
                }
            },
            _ => {}
        }
        Ok(())
    }
}

fn joined(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") }
}
