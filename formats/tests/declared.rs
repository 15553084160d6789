//! Metadata that describe another model than the tensors are.
#![allow(missing_docs)]

use weightmill_formats::gguf::check_declared;
use weightmill_formats::{Item, Kind, Metadata, TensorInfo, Value};
use weightmill_kernels::Dtype;

/// Two layers, two experts, four heads, three tokens.
fn metadata() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    metadata.set("llama.block_count", 2u32);
    metadata.set("llama.expert_count", 2u32);
    metadata.set("llama.attention.head_count", 4u32);
    metadata.set("llama.attention.head_count_kv", 2u32);
    metadata.set("tokenizer.ggml.model", "llama");
    metadata.set("tokenizer.ggml.tokens", ["<unk>", "<0x0A>", "a"].map(str::to_owned).to_vec());
    metadata.set("tokenizer.ggml.scores", vec![0f32; 3]);
    metadata.set("tokenizer.ggml.token_type", vec![2i32, 6, 1]);
    metadata
}

fn tensors() -> Vec<TensorInfo> {
    let shapes: [(&str, &[u64]); 6] = [
        ("token_embd.weight", &[3, 8]),
        ("blk.0.attn_q.weight", &[8, 8]),
        ("blk.0.ffn_up_exps.weight", &[2, 16, 8]),
        ("blk.1.attn_k.weight", &[4, 8]),
        ("blk.1.attn_norm.weight", &[8]),
        ("output.weight", &[3, 8]),
    ];
    let info = |(n, (name, shape)): (usize, (&str, &[u64]))| {
        let bytes = shape.iter().product::<u64>() * 4;
        let (name, shape) = (name.to_owned(), shape.to_vec());
        TensorInfo { name, shape, dtype: Dtype::F32, file: 0, offset: n as u64 * 1000, bytes }
    };
    shapes.into_iter().enumerate().map(info).collect()
}

/// The error after one key was changed.
fn with(key: &str, value: impl Into<Value>) -> (String, Option<Item>) {
    let mut metadata = metadata();
    metadata.set(key, value);
    let error = check_declared(&metadata, &tensors()).unwrap_err();
    (error.kind().to_string(), error.about().cloned())
}

fn tensor(name: &str) -> Option<Item> {
    Some(Item::Tensor(name.to_owned()))
}

fn key(name: &str) -> Option<Item> {
    Some(Item::Key(name.to_owned()))
}

#[test]
fn a_sound_model() {
    check_declared(&metadata(), &tensors()).unwrap();
    check_declared(&metadata(), &[]).unwrap();
    check_declared(&Metadata::new(), &tensors()).unwrap();
}

#[test]
fn layers() {
    let declared = |declared: u64, found| Kind::Declared { what: "layers", declared, found }.to_string();
    assert_eq!(with("llama.block_count", 1u32), (declared(1, 2), tensor("blk.1.attn_k.weight")));
    assert_eq!(with("llama.block_count", 3u32), (declared(3, 2), None));
    let limit = Kind::Limit { what: "block_count", found: 513, limit: 512 }.to_string();
    assert_eq!(with("llama.block_count", 513u32), (limit, key("llama.block_count")));
    let (_, item) = with("llama.block_count", u64::MAX);
    assert_eq!(item, key("llama.block_count"));
    // Layers may be empty where each has its own number of heads.
    let mut metadata = metadata();
    metadata.set("llama.block_count", 3u32);
    metadata.set("llama.attention.head_count", vec![4u32, 4, 0]);
    check_declared(&metadata, &tensors()).unwrap();
}

#[test]
fn layers_of_absurd_numbers() {
    let mut tensors = tensors();
    for number in ["2", "4000000000", "18446744073709551615", "99999999999999999999"] {
        tensors[1].name = format!("blk.{number}.x");
        let error = check_declared(&metadata(), &tensors).unwrap_err();
        assert!(matches!(error.kind(), Kind::Declared { what: "layers", declared: 2, found } if *found > 2), "{error}");
    }
    for name in ["blk.+7.x", "blk.x.y", "blk..x", "blk.7", "v.blk.7.x"] {
        tensors[1].name = name.to_owned();
        check_declared(&metadata(), &tensors).unwrap();
    }
}

#[test]
fn heads_and_experts() {
    let heads = |rows, heads| Kind::Heads { rows, heads }.to_string();
    assert_eq!(with("llama.attention.head_count", 3u32), (heads(8, 3), tensor("blk.0.attn_q.weight")));
    assert_eq!(with("llama.attention.head_count_kv", 3u32), (heads(4, 3), tensor("blk.1.attn_k.weight")));
    let experts = Kind::Declared { what: "experts", declared: 4, found: 2 }.to_string();
    assert_eq!(with("llama.expert_count", 4u32), (experts, tensor("blk.0.ffn_up_exps.weight")));
    let limit = Kind::Limit { what: "expert_count", found: 1025, limit: 1024 }.to_string();
    assert_eq!(with("llama.expert_count", 1025u32), (limit, key("llama.expert_count")));
}

#[test]
fn vocabulary() {
    let tokens = |declared, found| Kind::Declared { what: "tokens", declared, found }.to_string();
    assert_eq!(with("tokenizer.ggml.scores", vec![0f32; 2]), (tokens(3, 2), key("tokenizer.ggml.scores")));
    assert_eq!(with("tokenizer.ggml.token_type", vec![1i32]), (tokens(3, 1), key("tokenizer.ggml.token_type")));
    let mut metadata = metadata();
    let fewer = ["<unk>", "<0x0A>"].map(str::to_owned).to_vec();
    metadata.set("tokenizer.ggml.tokens", fewer);
    let error = check_declared(&metadata, &tensors()).unwrap_err();
    assert_eq!((error.kind().to_string(), error.about().cloned()), (tokens(2, 3), tensor("token_embd.weight")));

    let wrong = |expected, found| Kind::WrongType { expected, found }.to_string();
    let is_array = |expected| wrong(expected, "arr");
    assert_eq!(with("tokenizer.ggml.tokens", 3u32), (wrong("an array of str", "u32"), key("tokenizer.ggml.tokens")));
    let bytes = vec![0u8; 12];
    assert_eq!(
        with("tokenizer.ggml.scores", bytes.clone()),
        (is_array("an array of f32"), key("tokenizer.ggml.scores"))
    );
    let types = "tokenizer.ggml.token_type";
    assert_eq!(with(types, bytes), (is_array("an array of i32"), key(types)));
}

/// A published exploit had `<0x-1>`: written before the beginning of an array.
#[test]
fn byte_tokens_are_two_hexadecimal_digits() {
    for bad in ["<0x-1>", "<0x+1>", "<0x1>", "<0x123>", "<0xGG>", "0x0A", "<0x0A", ""] {
        let tokens = ["<unk>", bad, "a"].map(str::to_owned).to_vec();
        let name = Kind::Name { what: "byte token", name: bad.to_owned() }.to_string();
        assert_eq!(with("tokenizer.ggml.tokens", tokens), (name, key("tokenizer.ggml.tokens")));
    }
}
