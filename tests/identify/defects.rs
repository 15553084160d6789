//! Defective checkpoints: one clear error each, never a panic.

use std::fs;

use serde_json::{Value as Json, json};
use weightmill::arch::{Choices, identify};
use weightmill::checkpoint::Checkpoint;

use crate::Folder;

/// The error that a change of the fixture leads to.
fn error(change: impl FnOnce(&Folder)) -> String {
    let folder = Folder::new();
    change(&folder);
    match folder.identify() {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn assert_has(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn settings_that_cannot_be() {
    for (key, value, says) in [
        ("num_attention_heads", json!(0), "0, where a positive 32-bit integer is expected"),
        ("num_attention_heads", json!(3), "hidden_size: 256 is no multiple of num_attention_heads (3)"),
        ("num_attention_heads", json!("4"), "\"4\", where a positive"),
        ("num_key_value_heads", json!(3), "3 does not divide num_attention_heads (4)"),
        ("num_key_value_heads", json!([1, 1]), "[1,1], where a positive"),
        ("hidden_size", json!(-256), "-256, where a positive"),
        ("hidden_size", json!(256.0), "256.0, where a positive"),
        ("head_dim", json!(63), "63 is odd"),
        ("head_dim", json!(4_000_000_000_u32), "4 heads of 4000000000 columns are too many"),
        ("head_dim", json!(1_000_000), "1000000, more than 65536"),
        ("num_hidden_layers", json!(4_000_000_000_u32), "declares 4000000000 layers, but there are only 21 tensors"),
        ("num_hidden_layers", json!(1e300), "1e+300, where a positive"),
        ("vocab_size", json!(4_000_000_000_u32), "4000000000, more than the 4194304 that are read"),
        ("rms_norm_eps", json!("small"), "\"small\", where a number is expected"),
        ("rms_norm_eps", json!(1e200), "1e+200, where a number is expected"),
        ("rope_theta", json!(0), "0, where a positive number is expected"),
        ("rope_scaling", json!("llama3"), "\"llama3\", where an object is expected"),
        ("rope_scaling", json!({"rope_type": 3}), "3, where a name is expected"),
        ("rope_scaling", json!({"rope_type": "linear"}), "factor: missing"),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 0}), "not finite and positive"),
        ("attention_bias", json!("no"), "\"no\", where true or false is expected"),
    ] {
        let message = error(|folder| folder.edit("config.json", &format!("/{key}"), Some(value.clone())));
        assert_has(
            &message,
            &[says, if key == "num_hidden_layers" || says.contains("too many") { "config" } else { key }],
        );
    }
    for key in ["num_attention_heads", "hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"] {
        let message = error(|folder| folder.edit("config.json", &format!("/{key}"), None));
        assert_has(&message, &["config.json", key, "missing"]);
    }
}

#[test]
fn other_models() {
    let of = |value: Json| error(|folder| folder.edit("config.json", "/architectures", Some(value)));
    assert_has(&of(json!(["MambaForCausalLM"])), &["\"MambaForCausalLM\" is not supported", "LlamaForCausalLM"]);
    assert_has(&of(json!([])), &["\"none\" is not supported"]);
    assert_has(&of(json!(7)), &["\"none\" is not supported"]);
    let quantized = json!({"quant_method": "aqlm", "bits": 2});
    let message = error(|folder| folder.edit("config.json", "/quantization_config", Some(quantized)));
    assert_has(&message, &["aqlm", "convert the unquantized checkpoint"]);
}

/// Tensors of a model with two layers that the fixture's config describes.
fn tensors() -> Vec<Json> {
    let source = weightmill_formats::open(&Folder::new().path.join("model.safetensors")).unwrap();
    source.tensors().iter().map(|tensor| json!([tensor.name, tensor.dtype.name(), tensor.shape])).collect()
}

#[test]
fn tensors_that_contradict_the_config() {
    let with = |change: &dyn Fn(&mut Vec<Json>)| {
        error(|folder| {
            let mut tensors = tensors();
            change(&mut tensors);
            folder.write_tensors(&tensors);
        })
    };
    let at = |tensors: &[Json], name: &str| tensors.iter().position(|tensor| tensor[0] == name).unwrap();

    let name = "model.layers.1.self_attn.k_proj.weight";
    let message = with(&|tensors| drop(tensors.remove(at(tensors, name))));
    assert_has(&message, &["missing 1 tensor: model.layers.1.self_attn.k_proj.weight"]);
    let message = with(&|tensors| drop(tensors.remove(at(tensors, "lm_head.weight"))));
    assert_has(&message, &["missing 1 tensor: lm_head.weight"]);
    let message = with(&|tensors| {
        let index = at(tensors, name);
        tensors[index][2] = json!([65, 256]);
    });
    assert_has(&message, &[name, "[65, 256]", "[64, 256]"]);
    let message = with(&|tensors| {
        let index = at(tensors, name);
        tensors[index][1] = json!("I8");
    });
    assert_has(&message, &[name, "I8"]);
    for extra in [
        "model.layers.2.self_attn.k_proj.weight",
        "model.layers.01.self_attn.k_proj.weight",
        "model.layers.99999999999999999999.mlp.up_proj.weight",
        "model.layers.0.mlp.experts.0.up_proj.weight",
        "visual.patch_embed.weight",
        "",
    ] {
        let message = with(&|tensors| tensors.push(json!([extra, "BF16", [64, 256]])));
        assert_has(&message, &["no rule for 1 tensor", extra]);
    }
    let message = with(&|tensors| {
        tensors.extend((0..100).map(|i| json!([format!("x.{i}"), "BF16", [1]])));
    });
    assert_has(&message, &["no rule for 100 tensors", "..."]);
    let message = error(|folder| folder.edit("config.json", "/num_hidden_layers", Some(json!(3))));
    assert_has(&message, &["missing 9 tensors", "model.layers.2.input_layernorm.weight"]);
    let message = error(|folder| folder.edit("config.json", "/attention_bias", Some(json!(true))));
    assert_has(&message, &["missing 8 tensors", "q_proj.bias"]);
}

#[test]
fn missing_files() {
    assert_has(&error(|folder| folder.remove("config.json")), &["config.json missing"]);
    let message = error(|folder| ["config.json", "tokenizer.json"].into_iter().for_each(|file| folder.remove(file)));
    assert_has(&message, &["config.json, tokenizer.json or tokenizer.model missing"]);
    let message = error(|folder| folder.remove("tokenizer.json"));
    assert_has(&message, &["no tokenizer", "tokenizer.model", "tokenizer.json"]);
}

#[test]
fn tokenizers_that_cannot_be() {
    let of = |pointer: &str, value: Json| error(|folder| folder.edit("tokenizer.json", pointer, Some(value)));
    let message = of("/pre_tokenizer/pretokenizers/0/pattern/Regex", json!("\\p{L}+"));
    assert_has(&message, &["tokenizer.json", "the nearest known is", "split \\p{L}+; bytes"]);
    assert_has(&message, &["--pre NAME", "merges skipped by whole words"]);
    let similar =
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
    let message = of("/pre_tokenizer/pretokenizers/0/pattern/Regex", json!(similar));
    assert_has(&message, &["the nearest known is llama-bpe", r"\p{N}{1,2}"]);
    let message = of("/pre_tokenizer/pretokenizers/1/add_prefix_space", json!(true));
    assert_has(&message, &["the nearest known is llama-bpe", r#""add_prefix_space":true"#]);
    assert_has(&of("/normalizer", json!({"type": "Lowercase"})), &["Found: normalize Lowercase; split"]);
    assert_has(&of("/model/type", json!("Unigram")), &["Unigram, where BPE is expected"]);
    assert_has(&of("/model/vocab/new", json!(285)), &["\"new\" has id 285", "only 285 rows"]);
    assert_has(&of("/model/vocab/new", json!(3)), &["the same id 3"]);
    assert_has(&of("/model/vocab/new", json!(-3)), &["tokenizer.json", "not as expected"]);
    assert_has(&of("/model/vocab/new", json!(1_u64 << 40)), &["tokenizer.json", "not as expected"]);
    assert_has(&of("/model/merges", json!([["a", "b", "c"]])), &["tokenizer.json", "a merge"]);
    assert_has(&of("/model/merges", json!(["ab"])), &["tokenizer.json", "\"ab\"", "a merge"]);
    assert_has(&of("/model/merges", json!(["a b c"])), &["tokenizer.json", "a merge"]);
    assert_has(&of("/added_tokens", json!([{"id": null, "content": "<x>"}])), &["\"<x>\" has no id"]);
    let many: Vec<Json> = (0..6).map(|i| json!({"id": 280 + i, "content": format!("<{i}>")})).collect();
    assert_has(&of("/added_tokens", json!(many)), &["\"<5>\" has id 285", "only 285 rows"]);
    let message = error(|folder| folder.edit("config.json", "/pad_token_id", Some(json!(-1))));
    assert_has(&message, &["config.json", "pad_token_id is -1"]);
    let message = error(|folder| folder.edit("tokenizer_config.json", "/chat_template", Some(json!([3]))));
    assert_has(&message, &["tokenizer_config.json", "chat_template"]);
    let message = error(|folder| folder.edit("tokenizer_config.json", "/add_prefix_space", Some(json!(1))));
    assert_has(&message, &["tokenizer_config.json", "add_prefix_space is 1"]);
    assert_has(&error(|folder| folder.write("tokenizer_config.json", "{")), &["tokenizer_config.json", "line 1"]);
    assert_has(&error(|folder| folder.write("config.json", "[]")), &["config.json", "not as expected"]);

    // pieces of SentencePiece models: text, score and type as protocol buffers write them
    let piece = |text: &[u8], kind: u8| {
        let mut piece = vec![0x0a, text.len() as u8];
        piece.extend(text);
        piece.extend([0x15, 0, 0, 0, 0, 0x18, kind]);
        [vec![0x0a, piece.len() as u8], piece].concat()
    };
    for (model, says) in [
        (piece(b"<0xG1>", 6), "\"<0xG1>\") is of type byte"),
        (piece(b"<0x+1>", 6), "\"<0x+1>\") is of type byte"),
        (piece(b"", 1), "piece 0 is empty"),
        (piece(b"x", 9), "the unknown type 9"),
        (piece(b"\xff", 1), "not a SentencePiece model"),
        (vec![], "without pieces"),
        (vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], "not a SentencePiece model"),
    ] {
        assert_has(&error(|folder| folder.write("tokenizer.model", &model)), &["tokenizer.model", says]);
    }
}

#[test]
fn which_file_holds_the_weights() {
    let folder = Folder::new();
    let weights = |folder: &Folder| Checkpoint::beside(&folder.path).map(|checkpoint| checkpoint.weights().to_owned());
    folder.write("model.safetensors.index.json", "{}");
    assert_eq!(weights(&folder).unwrap(), folder.path.join("model.safetensors.index.json"));
    folder.remove("model.safetensors.index.json");
    folder.write("other.safetensors", "");
    assert_eq!(weights(&folder).unwrap(), folder.path.join("model.safetensors"));
    folder.remove("model.safetensors");
    folder.write("consolidated.safetensors", "");
    assert_eq!(weights(&folder).unwrap(), folder.path.join("other.safetensors"));
    folder.write("another.safetensors", "");
    let message = weights(&folder).unwrap_err().to_string();
    assert_has(&message, &["several files of weights", "another.safetensors, other.safetensors"]);
    ["other", "another"].into_iter().for_each(|name| folder.remove(&format!("{name}.safetensors")));
    assert_eq!(weights(&folder).unwrap(), folder.path.join("consolidated.safetensors"));
    folder.remove("consolidated.safetensors");
    assert_has(&weights(&folder).unwrap_err().to_string(), &["no weights"]);
    folder.write("pytorch_model.bin", "");
    assert_has(&weights(&folder).unwrap_err().to_string(), &["pickle", "pytorch_model.bin", "--allow-pickle"]);

    // a single file finds the rest beside it
    let folder = Folder::new();
    fs::rename(folder.path.join("model.safetensors"), folder.path.join("llama.safetensors")).unwrap();
    let checkpoint = Checkpoint::beside(folder.path.join("llama.safetensors")).unwrap();
    assert_eq!(checkpoint.name(), "tiny-llama");
    let source = weightmill_formats::open(checkpoint.weights()).unwrap();
    assert!(identify(&checkpoint, source, &Choices::default()).is_ok());
    assert!(Checkpoint::beside(folder.path.join("absent.safetensors")).is_err());
}

// Bytes of every file are changed one, two or three at a time, from a fixed sequence: whatever comes out, it comes.
#[test]
fn damaged_files_do_not_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let folder = Folder::new();
    // letters that keep JSON readable turn up more often than chance would have it
    let letters = b"0123456789-.e[]{}\",:ntf\\ \xff";
    let mut accepted = 0;
    for file in ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        let intact = fs::read(folder.path.join(file)).unwrap();
        for _ in 0..250 {
            let mut damaged = intact.clone();
            for _ in 0..1 + random(3) {
                let at = random(damaged.len());
                damaged[at] = letters[random(letters.len())];
            }
            folder.write(file, &damaged);
            accepted += usize::from(folder.identify().is_ok());
        }
        folder.write(file, &intact);
    }
    assert!(accepted > 0, "nothing was read beyond JSON");
}
