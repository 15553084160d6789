//! The pickle machine: a stack, a memo, and the instructions that build data. It calls nothing.
//!
//! Objects refer to each other by number, so that lists inside lists neither overflow the stack of this program nor
//! keep each other alive. All instructions and their operands: pickletools.py of Python.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::Defect;
use super::globals::{self, Global, Meaning};
use super::tensor::{self, Storage, Tensor};
use crate::cursor::Cursor;
use crate::error::{Error, Kind, Result};

/// Longest pickle: a tensor takes some 200 bytes, and the largest published checkpoint has 91 thousand in all its files.
const MAX_PICKLE: u64 = 32 << 20;
/// Most values put on the stack in all; a tensor takes 25.
const MAX_VALUES: usize = 1 << 22;
/// Most remembered values.
const MAX_MEMO: usize = 1 << 21;
/// Most collections that are open at once; torch's pickler opens three.
const MAX_MARKS: usize = 1 << 10;
/// Longest module or class name.
const MAX_NAME: usize = 256;

/// What the pickle builds. Everything larger than a number is an object of [`Memory`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Global(&'static Global),
    /// Number among the objects.
    Object(usize),
}

/// An object. Texts are slices of the file.
#[derive(Debug)]
pub(super) enum Object<'a> {
    Text(&'a str),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    /// Entries in the order in which they were set, keys that were set twice included.
    Dict(Vec<(Value, Value)>),
    Storage(Storage),
    Tensor(Box<Tensor>),
}

impl Object<'_> {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Object::Text(_) => "text",
            Object::Tuple(_) => "tuple",
            Object::List(_) => "list",
            Object::Dict(_) => "dictionary",
            Object::Storage(_) => "storage",
            Object::Tensor(_) => "tensor",
        }
    }
}

/// All objects of a pickle.
#[derive(Debug)]
pub(super) struct Memory<'a> {
    objects: Vec<Object<'a>>,
    /// What the pickle as a whole is.
    pub result: Value,
}

impl<'a> Memory<'a> {
    /// The object that a value is, if it is one.
    pub fn object(&self, value: Value) -> Option<&Object<'a>> {
        match value {
            Value::Object(number) => Some(&self.objects[number]),
            _ => None,
        }
    }

    /// The text that a value is, if it is one.
    pub fn text(&self, value: Value) -> Option<&'a str> {
        match self.object(value) {
            Some(Object::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The elements of a tuple.
    pub fn tuple(&self, value: Value) -> Option<&[Value]> {
        match self.object(value) {
            Some(Object::Tuple(elements)) => Some(elements),
            _ => None,
        }
    }
}

/// Runs the pickle that lies in `range` of the file's bytes.
pub(super) fn run<'a>(bytes: &'a [u8], range: Range<u64>, path: &'a Path) -> Result<Memory<'a>> {
    let length = range.end - range.start;
    if length > MAX_PICKLE {
        return Err(Error::new(Kind::TooLong { what: "a pickle", length, limit: MAX_PICKLE }).at(range.start));
    }
    let mut machine = Machine {
        code: Cursor::within(bytes, range, path),
        memory: Memory { objects: Vec::new(), result: Value::None },
        stack: Vec::new(),
        pushed: 0,
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        let at = machine.code.at();
        match machine.step() {
            Ok(Step::More) => {}
            Ok(Step::Stop) => return Ok(machine.memory),
            Err(Failure::Defect(defect)) => return Err(machine.code.error(at, Kind::Pickle(defect))),
            Err(Failure::Read(error)) => return Err(error),
        }
    }
}

enum Step {
    More,
    Stop,
}

/// Why an instruction failed: what it asks for, or how it is written.
enum Failure {
    Defect(Defect),
    Read(Error),
}

impl From<Defect> for Failure {
    fn from(defect: Defect) -> Self {
        Failure::Defect(defect)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Read(error)
    }
}

const UNDERFLOW: Defect = Defect::Program("an instruction finds too little on the stack");

struct Machine<'a> {
    code: Cursor<'a>,
    memory: Memory<'a>,
    stack: Vec<Value>,
    /// Number of values that the stack has seen: it bounds everything else.
    pushed: usize,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
}

impl<'a> Machine<'a> {
    fn step(&mut self) -> std::result::Result<Step, Failure> {
        const WHAT: &str = "an instruction";
        let opcode = self.code.u8(WHAT)?;
        match opcode {
            // PROTO, FRAME
            0x80 => match self.code.u8(WHAT)? {
                2..=5 => {}
                found => return Err(Defect::Protocol { found }.into()),
            },
            0x95 => drop(self.code.u64(WHAT)?),

            // NONE, NEWTRUE, NEWFALSE
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            // BININT, BININT1, BININT2, LONG1, BINFLOAT
            b'J' => {
                let value = self.code.i32(WHAT)?;
                self.push(Value::Integer(value.into()))?;
            }
            b'K' => {
                let value = self.code.u8(WHAT)?;
                self.push(Value::Integer(value.into()))?;
            }
            b'M' => {
                let bytes = self.code.take(2, WHAT)?;
                self.push(Value::Integer(u16::from_le_bytes([bytes[0], bytes[1]]).into()))?;
            }
            0x8a => {
                let value = self.long()?;
                self.push(Value::Integer(value))?;
            }
            b'G' => {
                let bytes = self.code.take(8, WHAT)?;
                self.push(Value::Float(f64::from_be_bytes(bytes.try_into().expect("eight bytes"))))?;
            }
            // BINUNICODE, SHORT_BINUNICODE, and SHORT_BINSTRING of Python 2
            b'X' => {
                let (begin, length) = (self.code.at(), self.code.u32(WHAT)?);
                self.text(begin, length.into())?;
            }
            0x8c | b'U' => {
                let (begin, length) = (self.code.at(), self.code.u8(WHAT)?);
                self.text(begin, length.into())?;
            }

            // MARK, EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, TUPLE
            b'(' => self.mark()?,
            b')' => self.make(Object::Tuple(Vec::new()))?,
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let from = self.stack.len().checked_sub(count).filter(|&from| from >= self.floor()).ok_or(UNDERFLOW)?;
                let elements = self.stack.split_off(from);
                self.make(Object::Tuple(elements))?;
            }
            b't' => {
                let elements = self.pop_mark()?;
                self.make(Object::Tuple(elements))?;
            }
            // EMPTY_LIST, APPEND, APPENDS
            b']' => self.make(Object::List(Vec::new()))?,
            b'a' => {
                let element = self.pop()?;
                self.list()?.push(element);
            }
            b'e' => {
                let elements = self.pop_mark()?;
                self.list()?.extend(elements);
            }
            // EMPTY_DICT, SETITEM, SETITEMS
            b'}' => self.make(Object::Dict(Vec::new()))?,
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.dict()?.push((key, value));
            }
            b'u' => {
                let elements = self.pop_mark()?;
                let (pairs, rest) = elements.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err(Defect::Program("a key without a value").into());
                }
                self.dict()?.extend(pairs.iter().map(|&[key, value]| (key, value)));
            }

            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' => {
                let place = self.code.u8(WHAT)?;
                self.remember(place.into())?;
            }
            b'r' => {
                let place = self.code.u32(WHAT)?;
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            b'h' => {
                let place = self.code.u8(WHAT)?;
                self.recall(place.into())?;
            }
            b'j' => {
                let place = self.code.u32(WHAT)?;
                self.recall(place)?;
            }

            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let name = self.pop()?;
                let module = self.pop()?;
                match (self.memory.text(module), self.memory.text(name)) {
                    (Some(module), Some(name)) => self.global(module, name)?,
                    _ => return Err(Defect::Program("a name that is no text").into()),
                }
            }
            // BINPERSID, REDUCE, BUILD
            b'Q' => {
                let id = self.pop()?;
                let storage = Storage::new(&self.memory, id)?;
                self.make(Object::Storage(storage))?;
            }
            b'R' => {
                let arguments = self.pop()?;
                let callee = self.pop()?;
                self.reduce(callee, arguments)?;
            }
            // Sets attributes: state dictionaries have one, `_metadata` with the versions of modules. No use here.
            b'b' => {
                self.pop()?;
                self.dict()?;
            }
            // STOP
            b'.' => {
                let result = self.pop()?;
                if !self.stack.is_empty() || !self.marks.is_empty() || self.code.remaining() > 0 {
                    return Err(Defect::Program("it stops before its end").into());
                }
                self.memory.result = result;
                return Ok(Step::Stop);
            }
            opcode => return Err(Defect::Opcode { opcode }.into()),
        }
        Ok(Step::More)
    }

    /// Height of the stack under which the running collection does not reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn push(&mut self, value: Value) -> std::result::Result<(), Defect> {
        if self.pushed == MAX_VALUES {
            return Err(Defect::TooMany { what: "values", limit: MAX_VALUES });
        }
        self.pushed += 1;
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> std::result::Result<Value, Defect> {
        if self.stack.len() <= self.floor() {
            return Err(UNDERFLOW);
        }
        self.stack.pop().ok_or(UNDERFLOW)
    }

    fn make(&mut self, object: Object<'a>) -> std::result::Result<(), Defect> {
        self.push(Value::Object(self.memory.objects.len()))?;
        self.memory.objects.push(object);
        Ok(())
    }

    fn mark(&mut self) -> std::result::Result<(), Defect> {
        if self.marks.len() == MAX_MARKS {
            return Err(Defect::TooMany { what: "open collections", limit: MAX_MARKS });
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Everything above the last mark.
    fn pop_mark(&mut self) -> std::result::Result<Vec<Value>, Defect> {
        let from = self.marks.pop().ok_or(UNDERFLOW)?;
        Ok(self.stack.split_off(from))
    }

    /// The object on top of the stack, which stays there.
    fn top(&mut self) -> std::result::Result<&mut Object<'a>, Defect> {
        match self.stack[self.floor()..].last() {
            Some(&Value::Object(number)) => Ok(&mut self.memory.objects[number]),
            Some(_) => Err(Defect::Program("a number or name where a container is expected")),
            None => Err(UNDERFLOW),
        }
    }

    fn list(&mut self) -> std::result::Result<&mut Vec<Value>, Defect> {
        match self.top()? {
            Object::List(elements) => Ok(elements),
            _ => Err(Defect::Program("elements for something that is no list")),
        }
    }

    fn dict(&mut self) -> std::result::Result<&mut Vec<(Value, Value)>, Defect> {
        match self.top()? {
            Object::Dict(pairs) => Ok(pairs),
            _ => Err(Defect::Program("entries or attributes for something that is no dictionary")),
        }
    }

    fn remember(&mut self, place: u32) -> std::result::Result<(), Defect> {
        let value = *self.stack[self.floor()..].last().ok_or(UNDERFLOW)?;
        self.memo.insert(place, value);
        if self.memo.len() > MAX_MEMO {
            return Err(Defect::TooMany { what: "remembered values", limit: MAX_MEMO });
        }
        Ok(())
    }

    fn recall(&mut self, place: u32) -> std::result::Result<(), Defect> {
        let value = *self.memo.get(&place).ok_or(Defect::Program("it refers to a value that it did not remember"))?;
        self.push(value)
    }

    /// A text of `length` bytes, whose length stands at `begin`.
    fn text(&mut self, begin: u64, length: u64) -> std::result::Result<(), Failure> {
        let text = self.code.text(begin, length, "a text")?;
        Ok(self.make(Object::Text(text))?)
    }

    /// An integer of up to eight bytes.
    fn long(&mut self) -> std::result::Result<i64, Failure> {
        let length = self.code.u8("an integer")?;
        let digits = self.code.take(length.into(), "an integer")?;
        let negative = digits.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut bytes = [if negative { 0xff } else { 0 }; 8];
        match bytes.get_mut(..digits.len()) {
            Some(low) => low.copy_from_slice(digits),
            None => return Err(Defect::Program("an integer of more than 64 bits").into()),
        }
        Ok(i64::from_le_bytes(bytes))
    }

    /// Bytes up to the end of a line.
    fn line(&mut self) -> std::result::Result<&'a str, Failure> {
        let begin = self.code.at();
        let mut length = 0;
        while self.code.u8("a name")? != b'\n' {
            length += 1;
            if length > MAX_NAME as u64 {
                return Err(Defect::Program("a name without an end").into());
            }
        }
        let bytes = self.code.bytes(begin..begin + length);
        std::str::from_utf8(bytes).map_err(|_| Defect::Program("a name that is no text").into())
    }

    fn global(&mut self, module: &str, name: &str) -> std::result::Result<(), Defect> {
        match globals::find(module, name) {
            Some(global) => self.push(Value::Global(global)),
            None => {
                let name: String = format!("{module}.{name}").chars().take(2 * MAX_NAME).collect();
                Err(Defect::Global { name })
            }
        }
    }

    /// What Python would call a function for: data from data.
    fn reduce(&mut self, callee: Value, arguments: Value) -> std::result::Result<(), Defect> {
        let Value::Global(Global { meaning, .. }) = callee else {
            return Err(Defect::Program("a call of something that is no function"));
        };
        let Some(arguments) = self.memory.tuple(arguments) else {
            return Err(Defect::Program("a call without a tuple of arguments"));
        };
        match (meaning, arguments) {
            (Meaning::OrderedDict, []) => self.make(Object::Dict(Vec::new())),
            (Meaning::Size, &[size]) if self.memory.tuple(size).is_some() => self.push(size),
            (Meaning::Parameter, &[data, ..]) if matches!(self.memory.object(data), Some(Object::Tensor(_))) => {
                self.push(data)
            }
            (Meaning::Tensor | Meaning::TypedTensor, arguments) => {
                let tensor = tensor::rebuild(&self.memory, *meaning == Meaning::TypedTensor, arguments)?;
                self.make(Object::Tensor(Box::new(tensor)))
            }
            _ => Err(Defect::Program("a call with other arguments than the function has")),
        }
    }
}
