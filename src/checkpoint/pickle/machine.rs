//! The stack machine of pickles, protocols 0 to 5 (`CPython`, `Lib/pickletools.py`), over values that are data alone.

use std::collections::HashMap;
use std::path::Path;

use super::SAVE_AGAIN;
use super::allowed::Global;
use super::input::Input;
use super::opcodes::opcode_name;
use super::values::{Heap, Id, StorageName, Value, check_count};
use crate::error::{Error, Result, excerpt};

/// The newest protocol.
const NEWEST_PROTOCOL: u8 = 5;
/// The modules of the objects in `NVlabs`' pickles.
const OF_NVLABS: [&str; 2] = ["torch_utils.", "dnnlib."];
/// The longest key of a storage in bytes.
const LONGEST_KEY: usize = 256;

/// A machine that runs one pickle.
pub(super) struct Machine<'i, 'a> {
    input: &'i mut Input<'a>,
    pub(super) heap: Heap,
    /// The storages that the pickle names, in the order of their appearance.
    pub(super) storages: Vec<StorageName>,
    stack: Vec<Id>,
    /// The lengths of the stack at the marks that are open.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// The opcode that runs, and its place in the file.
    opcode: u8,
    place: u64,
}

impl<'i, 'a> Machine<'i, 'a> {
    /// A machine that takes the bytes of a pickle from `input`.
    pub(super) fn new(input: &'i mut Input<'a>) -> Self {
        Self {
            input,
            heap: Heap::default(),
            storages: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            opcode: 0,
            place: 0,
        }
    }

    /// Runs the pickle to its end and returns the value that it leaves.
    ///
    /// # Errors
    /// [`Error::BadFile`] that names the opcode and its place, and for a name that is not allowed the name.
    pub(super) fn run(&mut self) -> Result<Id> {
        loop {
            self.place = self.input.place();
            let [opcode] = self.input.array()?;
            self.opcode = opcode;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            0x80 => self.protocol(),
            // FRAME: the length of a part, which says nothing new.
            0x95 => self.input.array::<8>().map(|_| ()),
            b'(' => {
                check_count(self.file(), self.marks.len())?;
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop_or_mark(),
            b'1' => self.since_mark().map(|_| ()),
            b'2' => {
                let top = self.top()?;
                self.push_id(top)
            }
            b'N' => self.push(Value::None),
            b'I' => self.integer_line(),
            b'L' => self.long_line(),
            b'J' => {
                let number = i32::from_le_bytes(self.input.array()?);
                self.push(Value::Int(number.into()))
            }
            b'K' => {
                let [number] = self.input.array()?;
                self.push(Value::Int(number.into()))
            }
            b'M' => {
                let number = u16::from_le_bytes(self.input.array()?);
                self.push(Value::Int(number.into()))
            }
            0x88 | 0x89 => self.push(Value::Bool(opcode == 0x88)),
            0x8a | 0x8b => {
                let length = self.length(if opcode == 0x8a { 1 } else { 4 })?;
                let bytes = self.input.take(length)?.to_vec();
                self.push(long(bytes))
            }
            b'F' => self.input.line().and_then(|_| self.push(Value::Number)),
            b'G' => self.input.array::<8>().and_then(|_| self.push(Value::Number)),
            b'S' | b'V' => self.text_line(),
            // Texts of Python 2, which are texts or bytes, and texts.
            b'T' | b'U' | b'X' | 0x8c | 0x8d => {
                let length = self.length(match opcode {
                    b'T' | b'X' => 4,
                    b'U' | 0x8c => 1,
                    _ => 8,
                })?;
                let text = String::from_utf8_lossy(self.input.take(length)?).into_owned();
                self.push(Value::Text(text))
            }
            b'B' | b'C' | 0x8e | 0x96 => {
                let length = self.length(match opcode {
                    b'B' => 4,
                    b'C' => 1,
                    _ => 8,
                })?;
                self.input.take(length)?;
                self.push(Value::Bytes)
            }
            b']' | 0x8f => self.push(Value::List(Vec::new())),
            b'l' | 0x91 => {
                let items = self.since_mark()?;
                self.push(Value::List(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.extend_list(vec![item])
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.extend_list(items)
            }
            b')' => self.push(Value::Tuple(Vec::new())),
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items))
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.push(Value::Tuple(items))
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let items = self.since_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.extend_dictionary(&items)
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.extend_dictionary(&items)
            }
            b'u' => {
                let items = self.since_mark()?;
                self.extend_dictionary(&items)
            }
            b'p' | b'q' | b'r' | 0x94 => self.memorize(opcode),
            b'g' | b'h' | b'j' => self.recall(opcode),
            b'c' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                self.global(&String::from_utf8_lossy(&module), &String::from_utf8_lossy(&name))
            }
            0x93 => {
                let names = self.pop_many(2)?;
                let (Some(module), Some(name)) = (self.heap.text(names[0]), self.heap.text(names[1])) else {
                    return Err(self.fault("names a global by what is not a text"));
                };
                let (module, name) = (module.to_owned(), name.to_owned());
                self.global(&module, &name)
            }
            b'R' | 0x81 => self.call(),
            b'b' => self.build(),
            b'Q' => self.persistent(),
            b'i' => {
                let (module, name) = (self.input.line()?, self.input.line()?);
                let (module, name) = (String::from_utf8_lossy(&module), String::from_utf8_lossy(&name));
                Err(self.forbidden(&format!("{module}.{name}")))
            }
            b'o' => {
                let made = self.since_mark()?.first().map(|class| self.heap.get(*class).clone());
                Err(match made {
                    Some(Value::Global(global)) => self.forbidden(global.name()),
                    _ => self.fault("makes an object of what is not a class"),
                })
            }
            0x92 => {
                let class = self.pop_many(3)?[0];
                Err(match *self.heap.get(class) {
                    Value::Global(global) => self.forbidden(global.name()),
                    _ => self.fault("makes an object of what is not a class"),
                })
            }
            0x82..=0x84 => {
                let number = self.length([1, 2, 4][usize::from(opcode - 0x82)])?;
                Err(self.forbidden(&format!("extension number {number}")))
            }
            b'P' => {
                let line = self.input.line()?;
                Err(self.forbidden(&format!("persistent id {}", String::from_utf8_lossy(&line))))
            }
            0x97 | 0x98 => Err(self.fault("takes a buffer from outside of the file, which is not supported")),
            _ => {
                let what = format!("not a pickle: {opcode:#04x} at byte {} is not an opcode", self.place);
                Err(Error::bad_file_hint(self.file(), what, SAVE_AGAIN))
            }
        }
    }

    fn file(&self) -> &'a Path {
        self.input.file
    }

    fn protocol(&mut self) -> Result<()> {
        match self.input.array()? {
            [0..=NEWEST_PROTOCOL] => Ok(()),
            [protocol] => {
                let what = format!("a pickle of protocol {protocol}; the newest that is known is {NEWEST_PROTOCOL}");
                Err(Error::bad_file(self.file(), what))
            }
        }
    }

    /// Takes a length of `bytes` bytes.
    fn length(&mut self, bytes: u64) -> Result<u64> {
        let mut length = [0; 8];
        let taken = self.input.take(bytes)?;
        length[..taken.len()].copy_from_slice(taken);
        Ok(u64::from_le_bytes(length))
    }

    fn push(&mut self, value: Value) -> Result<()> {
        let id = self.heap.add(self.input.file, value)?;
        self.push_id(id)
    }

    fn push_id(&mut self, id: Id) -> Result<()> {
        check_count(self.input.file, self.stack.len())?;
        self.stack.push(id);
        Ok(())
    }

    /// The stack above the last open mark has at least `count` values.
    fn expect(&self, count: usize) -> Result<()> {
        if self.stack.len() - self.marks.last().copied().unwrap_or(0) >= count {
            Ok(())
        } else {
            Err(self.fault("takes more values than there are"))
        }
    }

    fn top(&self) -> Result<Id> {
        self.expect(1)?;
        self.stack.last().copied().ok_or_else(|| self.fault("takes more values than there are"))
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>> {
        self.expect(count)?;
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    fn pop_or_mark(&mut self) -> Result<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(|_| ())
    }

    /// Takes the values above the last open mark, and closes it.
    fn since_mark(&mut self) -> Result<Vec<Id>> {
        let Some(mark) = self.marks.pop() else { return Err(self.fault("needs a mark, and none is open")) };
        Ok(self.stack.split_off(mark))
    }

    fn extend_list(&mut self, items: Vec<Id>) -> Result<()> {
        let list = self.top()?;
        self.heap.count_items(self.input.file, items.len())?;
        match self.heap.get_mut(list) {
            Value::List(held) => {
                held.extend(items);
                Ok(())
            }
            _ => Err(self.fault("appends to what is not a list")),
        }
    }

    fn extend_dictionary(&mut self, items: &[Id]) -> Result<()> {
        let dictionary = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(self.fault("sets a key without a value"));
        }
        self.heap.count_items(self.input.file, pairs.len())?;
        match self.heap.get_mut(dictionary) {
            Value::Dict(entries) => {
                entries.extend(pairs.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            _ => Err(self.fault("sets a key of what is not a dictionary")),
        }
    }

    fn memorize(&mut self, opcode: u8) -> Result<()> {
        let key = self.memo_key(opcode)?;
        let top = self.top()?;
        check_count(self.file(), self.memo.len())?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, opcode: u8) -> Result<()> {
        let key = self.memo_key(opcode)?;
        let id = self.memo.get(&key).copied().ok_or_else(|| self.fault("recalls what was never put"))?;
        self.push_id(id)
    }

    fn memo_key(&mut self, opcode: u8) -> Result<u64> {
        match opcode {
            b'p' | b'g' => {
                let line = self.input.line()?;
                let number = std::str::from_utf8(&line).ok().and_then(|text| text.parse().ok());
                number.ok_or_else(|| self.fault("has a number that is not one"))
            }
            b'q' | b'h' => self.length(1),
            b'r' | b'j' => self.length(4),
            _ => Ok(self.memo.len() as u64),
        }
    }

    fn integer_line(&mut self) -> Result<()> {
        let line = self.input.line()?;
        let value = match line.as_slice() {
            b"00" => Some(Value::Bool(false)),
            b"01" => Some(Value::Bool(true)),
            line => std::str::from_utf8(line).ok().and_then(|text| text.trim().parse().ok()).map(Value::Int),
        };
        let value = value.ok_or_else(|| self.fault("has a number that is not one"))?;
        self.push(value)
    }

    fn long_line(&mut self) -> Result<()> {
        let line = self.input.line()?;
        let text = std::str::from_utf8(&line).unwrap_or_default().trim();
        let number = text.strip_suffix('L').unwrap_or(text);
        // No count of tensors has more digits than fit; a longer number is only carried.
        let value = number.parse().map_or(Value::Number, Value::Int);
        self.push(value)
    }

    /// A text of protocol 0. Escapes stay as they are, apart from quotes around it: keys of tensors have none.
    fn text_line(&mut self) -> Result<()> {
        let line = self.input.line()?;
        let text = String::from_utf8_lossy(&line).into_owned();
        let inner = match (self.opcode, text.as_bytes()) {
            (b'S', [first @ (b'\'' | b'"'), .., last]) if first == last => text[1..text.len() - 1].to_owned(),
            (b'S', _) => return Err(self.fault("has a text without quotes")),
            _ => text,
        };
        self.push(Value::Text(inner))
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        match Global::find(module, name) {
            Some(global) => self.push(Value::Global(global)),
            None => Err(self.forbidden(&format!("{module}.{name}"))),
        }
    }

    /// REDUCE and NEWOBJ: what a call of an allowed name stands for.
    fn call(&mut self) -> Result<()> {
        let parts = self.pop_many(2)?;
        let Value::Global(global) = *self.heap.get(parts[0]) else {
            return Err(self.fault("calls what is not a function"));
        };
        let Value::Tuple(arguments) = self.heap.get(parts[1]) else {
            return Err(self.fault("calls with arguments that are not a tuple"));
        };
        if self.opcode == 0x81 && !matches!(global, Global::Dictionary | Global::Sequence) {
            return Err(self.forbidden(global.name()));
        }
        let Some(value) = global.call(&self.heap, &self.storages, arguments) else {
            let what = format!("calls `{}` with arguments that do not fit together or reach beyond", global.name());
            return Err(self.fault(&what));
        };
        self.push(value)
    }

    /// BUILD: dictionaries carry notes of modules, which say nothing about tensors; so do types of numbers.
    fn build(&mut self) -> Result<()> {
        self.pop()?;
        let object = self.top()?;
        match self.heap.get(object) {
            Value::Dict(_) | Value::Other => Ok(()),
            Value::Global(global) => Err(self.forbidden(global.name())),
            _ => Err(self.fault("sets the state of what has none")),
        }
    }

    /// A persistent id: `("storage", class, key, device, elements[, view])`.
    fn persistent(&mut self) -> Result<()> {
        let id = self.pop()?;
        let Some(storage) = self.storage(id) else {
            return Err(self.fault("has a persistent id that is not a storage of tensors"));
        };
        check_count(self.file(), self.storages.len())?;
        self.storages.push(storage);
        self.push(Value::Storage(self.storages.len() - 1))
    }

    fn storage(&self, id: Id) -> Option<StorageName> {
        let heap = &self.heap;
        let Value::Tuple(parts) = heap.get(id) else { return None };
        let ([tag, class, key, _, count] | [tag, class, key, _, count, _]) = parts.as_slice() else { return None };
        let Value::Global(Global::Storage(dtype)) = *heap.get(*class) else { return None };
        if heap.text(*tag) != Some("storage") {
            return None;
        }
        let key = match heap.get(*key) {
            Value::Text(key) if key.len() <= LONGEST_KEY => key.clone(),
            Value::Int(key) => key.to_string(),
            _ => return None,
        };
        let count = heap.count(*count)?;
        let whole = StorageName { key, dtype, count, first: 0 };
        match parts.get(5).map(|view| heap.get(*view)) {
            None | Some(Value::None) => Some(whole),
            Some(Value::Tuple(view)) => {
                let [_, first, count] = view.as_slice() else { return None };
                let (first, count) = (heap.count(*first)?, heap.count(*count)?);
                (first.checked_add(count)? <= whole.count).then_some(StorageName { count, first, ..whole })
            }
            Some(_) => None,
        }
    }

    /// The error of an opcode that asks for a name that is not allowed.
    fn forbidden(&self, name: &str) -> Error {
        let (opcode, place) = (opcode_name(self.opcode), self.place);
        let what = format!("opcode {opcode} at byte {place} asks for `{}`, which is not allowed", excerpt(name));
        // NVlabs' networks are whole objects.
        let hint = if OF_NVLABS.iter().any(|module| name.starts_with(module)) {
            "a network of NVlabs' edm becomes a folder by `python tools/convert_edm.py FILE FOLDER --code CHECKOUT`"
        } else {
            "nothing in the file was executed; it holds more than tensors and plain containers, or is hostile: save \
             its state dict alone, best as safetensors"
        };
        Error::bad_file_hint(self.file(), what, hint)
    }

    /// The error of an opcode that cannot run.
    fn fault(&self, what: &str) -> Error {
        let (opcode, place) = (opcode_name(self.opcode), self.place);
        Error::bad_file_hint(self.file(), format!("opcode {opcode} at byte {place} {what}"), SAVE_AGAIN)
    }
}

/// A whole number of any length, little-endian in two's complement.
fn long(bytes: Vec<u8>) -> Value {
    if bytes.len() > 8 {
        return Value::Long(bytes);
    }
    let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut number = [fill; 8];
    number[..bytes.len()].copy_from_slice(&bytes);
    Value::Int(i64::from_le_bytes(number))
}
