//! Defective vocabularies: one clear error each, never a panic; and what is said about odd ones.

use serde_json::{Value as Json, json};
use weightmill_formats::{Array, Metadata, Value};

use crate::Folder;

const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        let digits = (0..4).map(|i| LETTERS[(bits >> (18 - 6 * i) & 63) as usize] as char);
        text.extend(digits.take(chunk.len() + 1).chain(std::iter::repeat_n('=', 3 - chunk.len())));
    }
    text
}

/// All bytes, then these tokens.
fn tokens(more: &[&[u8]]) -> Vec<Vec<u8>> {
    let bytes = (0..=255).map(|byte| vec![byte]);
    bytes.chain(more.iter().map(|token| token.to_vec())).collect()
}

fn ranks(tokens: &[Vec<u8>]) -> String {
    tokens.iter().enumerate().map(|(rank, token)| format!("{} {rank}\n", to_base64(token))).collect()
}

fn tekken(change: impl FnOnce(&mut Json)) -> String {
    let vocab: Vec<Json> = tokens(&[b"ab", b"abc"])
        .iter()
        .enumerate()
        .map(|(rank, token)| json!({"rank": rank, "token_bytes": to_base64(token), "token_str": null}))
        .collect();
    let pattern = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let mut tekken = json!({
        "config": {"pattern": pattern, "default_vocab_size": 280, "default_num_special_tokens": 22, "version": "v3"},
        "vocab": vocab,
    });
    change(&mut tekken);
    tekken.to_string()
}

#[track_caller]
fn assert_error(kind: &str, rows: u32, config: &Json, files: &[(&str, &[u8])], says: &[&str]) {
    let folder = Folder::new(config);
    files.iter().for_each(|(file, bytes)| folder.write(file, bytes));
    match folder.vocabulary(kind, rows, None) {
        Ok(_) => panic!("accepted, where {says:?} is expected"),
        Err(error) => {
            let message = error.to_string();
            says.iter().for_each(|part| assert!(message.contains(part), "{message:?} does not say {part:?}"));
        }
    }
}

fn strings<'a>(metadata: &'a Metadata, key: &str) -> &'a [String] {
    match metadata.get(key) {
        Some(Value::Array(Array::String(texts))) => texts,
        other => panic!("{key}: {other:?}"),
    }
}

#[test]
fn ranks_that_cannot_be() {
    let good = ranks(&tokens(&[b"ab"]));
    let glm = json!({"model_type": "glm4"});
    let of = |text: &str, says: &[&str]| {
        assert_error(
            "ByteLevel",
            300,
            &glm,
            &[("tokenizer.model", text.as_bytes())],
            &[&["tokenizer.model"], says].concat(),
        );
        assert_error("Qwen", 500, &glm, &[("qwen.tiktoken", text.as_bytes())], &[&["qwen.tiktoken"], says].concat());
    };
    of(&good.replace("YWI= 256", "YWI 256"), &["line 257: the token is not base64"]);
    of(&good.replace("YWI= 256", "Y=I= 256"), &["line 257: the token is not base64"]);
    of(&good.replace("YWI= 256", "YWI= 257"), &["line 257: rank 257, but there are only 257 tokens"]);
    of(&good.replace("YWI= 256", "YWI= 7"), &["line 257: rank 7 is there already"]);
    of(&good.replace("YWI= 256", "YWI= -1"), &["line 257: the rank is not a number"]);
    of(&good.replace("YWI= 256", "YWI= 99999999999999999999"), &["line 257: the rank is not a number"]);
    of(&good.replace("YWI= 256", "YWI= 256 1"), &["line 257: not a token and its rank"]);
    of(&good.replace("YWI= 256", "YWI="), &["line 257: not a token and its rank"]);
    of(&good.replace("YWI= 256", "IQ== 256"), &["ranks 33 and 256 have the same token"]);
    of(&ranks(&tokens(&[])[..255]), &["the byte 0xff has no token"]);
    of(&ranks(&tokens(&[&[b'a'; 300]])), &["rank 256 has 300 bytes, where 1 to 256 are expected"]);

    let qwen = |text: String, rows, says: &[&str]| {
        assert_error("Qwen", rows, &glm, &[("qwen.tiktoken", text.as_bytes())], says);
    };
    qwen(ranks(&tokens(&[b"abc"])), 500, &["the token of rank 256 is made of no two tokens of lower rank"]);
    qwen(good.clone(), 464, &["465 tokens, but the embeddings have only 464 rows"]);
    assert_error("Qwen", 500, &glm, &[], &["no tokenizer", "qwen.tiktoken"]);
    // the same file cannot be SentencePiece where that alone is read
    assert_error("Gemma2", 300, &glm, &[("tokenizer.model", good.as_bytes())], &["tiktoken's ranks"]);
    // nothing says how this one cuts text
    let other = json!({"model_type": "other"});
    assert_error("ByteLevel", 300, &other, &[("tokenizer.model", good.as_bytes())], &["--pre NAME", "Found: nothing"]);
}

// Every token of n letters can be cut in n-1 places: merges grow faster than the file.
#[test]
fn ranks_with_too_many_merges() {
    let mut all = tokens(&[]);
    for a in 0..=80_usize {
        for b in 0..=80_usize {
            for c in (0..=80).step_by(5).filter(|c| a + b + c > 1) {
                all.push([vec![b'a'; a], vec![b'b'; b], vec![b'c'; c]].concat());
            }
        }
    }
    all.sort_by_key(Vec::len);
    all[..256].sort();
    let text = ranks(&all);
    let glm = json!({"model_type": "glm4"});
    assert_error("ByteLevel", 1 << 22, &glm, &[("tokenizer.model", text.as_bytes())], &["more than 2097152 merges"]);
}

#[test]
fn tekken_files_that_cannot_be() {
    let of = |change: &dyn Fn(&mut Json), says: &[&str]| {
        assert_error(
            "Llama",
            280,
            &json!({}),
            &[("tekken.json", tekken(change).as_bytes())],
            &[&["tekken.json"], says].concat(),
        );
    };
    of(&|tekken| tekken["vocab"][3]["token_bytes"] = json!("A"), &["rank 3 is not base64"]);
    of(&|tekken| tekken["vocab"][3]["rank"] = json!(4), &["a token has rank 4, not 3"]);
    of(&|tekken| tekken["vocab"][3]["rank"] = json!(-4), &["not as expected"]);
    of(&|tekken| tekken["vocab"][257]["token_bytes"] = json!("eHl6"), &["rank 257 is made of no two tokens"]);
    of(
        &|tekken| tekken["config"]["default_vocab_size"] = json!(281),
        &["281 tokens, but the embeddings have 280 rows"],
    );
    of(&|tekken| tekken["config"]["default_num_special_tokens"] = json!(21), &["258 tokens, where 259 are declared"]);
    of(&|tekken| tekken["config"]["default_num_special_tokens"] = json!(280), &["280 special tokens of 280"]);
    of(&|tekken| tekken["config"]["default_num_special_tokens"] = json!(4_000_000_000_u32), &["special tokens of 280"]);
    of(&|tekken| tekken["special_tokens"] = json!([{"rank": 1, "token_str": "<s>"}]), &["\"<s>\" has rank 1, not 0"]);
    of(&|tekken| tekken["special_tokens"] = json!([{"rank": 0, "token_str": "<s>"}]), &["no special token </s>"]);
    of(
        &|tekken| tekken["config"]["pattern"] = json!(r"\w+"),
        &["the nearest known is", r"split \w+; bytes", "--pre NAME"],
    );
    let many: Vec<Json> = (0..23).map(|i| json!({"rank": i, "token_str": format!("<{i}>")})).collect();
    of(&|tekken| tekken["special_tokens"] = json!(many), &["23 special tokens, where 22 are declared"]);
}

#[test]
fn tekken_versions_without_a_template_say_so() {
    let folder = Folder::new(&json!({}));
    folder.write("tekken.json", tekken(|tekken| tekken["config"]["version"] = json!("v13")));
    let (metadata, notes) = folder.vocabulary("Llama", 280, None).unwrap();
    assert_eq!(metadata.get("tokenizer.chat_template"), None);
    assert!(notes.len() == 1 && notes[0].contains("no chat template is known for version \"v13\""), "{notes:?}");
    folder.write("chat_template.jinja", "own");
    let (metadata, notes) = folder.vocabulary("Llama", 280, None).unwrap();
    assert_eq!(metadata.string("tokenizer.chat_template"), Some("own"));
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn vocab_json_that_cannot_be() {
    let of = |vocab: Json, says: &[&str]| {
        let config = json!({"model_type": "gpt2"});
        assert_error(
            "ByteLevel",
            3,
            &config,
            &[("vocab.json", vocab.to_string().as_bytes())],
            &[&["vocab.json"], says].concat(),
        );
    };
    of(json!({"a": 0, "b": 3}), &["token \"b\" has id 3, but the embeddings have only 3 rows"]);
    of(json!({"a": 0, "b": 0}), &["the same id 0"]);
    of(json!({"a": 1_u64 << 40}), &["not as expected"]);
    of(json!({"a": -1}), &["not as expected"]);
    of(json!(7), &["not as expected"]);
    let vocab = json!({"a": 0}).to_string();
    assert_error("ByteLevel", 3, &json!({}), &[("vocab.json", vocab.as_bytes())], &["Found: nothing", "--pre NAME"]);
    let merges = ("merges.txt", b"#version\na b\nab\n".as_slice());
    let files = [("vocab.json", vocab.as_bytes()), merges];
    assert_error("ByteLevel", 3, &json!({"model_type": "gpt2"}), &files, &["merges.txt", "line 3: not two tokens"]);
}

#[test]
fn families_need_their_files_and_tokens() {
    let tokenizer = json!({"model": {"type": "BPE", "vocab": {"a": 0, "<|user|>": 1}, "merges": []}, "added_tokens": [
        {"id": 2, "content": "<|endoftext|>"}], "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}});
    let tokenizer = tokenizer.to_string();
    let files = [("tokenizer.json", tokenizer.as_bytes())];
    for kind in ["Glm", "Glm4"] {
        assert_error(kind, 4, &json!({}), &files, &["tokenizer.json", "there is no added token \"<|user|>\""]);
    }
    assert_error("Glm4Moe", 4, &json!({}), &files, &["there is no added token \"[gMASK]\""]);
    for kind in ["Gemma", "Gemma2", "Phi3"] {
        assert_error(kind, 4, &json!({}), &files, &["no tokenizer", "tokenizer.model"]);
    }
    assert_error("Gemma3", 4, &json!({}), &[], &["no tokenizer", "tokenizer.json"]);
}

#[test]
fn glm_gets_its_roles() {
    let folder = Folder::new(&json!({"architectures": ["GlmForCausalLM"]}));
    folder.write(
        "tokenizer.json",
        json!({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": [
            {"id": 1, "content": "<|endoftext|>"}, {"id": 2, "content": "<|user|>"}],
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}})
        .to_string(),
    );
    let (metadata, _) = folder.vocabulary("Glm", 4, None).unwrap();
    let id = |role: &str| metadata.unsigned(&format!("tokenizer.ggml.{role}_token_id"));
    assert_eq!([id("eos"), id("eot"), id("unknown"), id("bos")], [Some(1), Some(2), Some(1), None]);
}

// llama_models/*/tokenizer.py: special tokens that stand in no file
#[test]
fn llama_names_its_special_tokens() {
    let pairs = (0..=255).flat_map(|a| (0..=255).map(move |b| vec![a, b]));
    let triples = (0..=255).flat_map(|a| (0..=255).flat_map(move |b| (0..3).map(move |c| vec![a, b, c])));
    let all: Vec<Vec<u8>> = tokens(&[]).into_iter().chain(pairs).chain(triples).collect();
    for (count, rows, pre, known) in [
        (
            128_000,
            128_256,
            "llama-bpe",
            [
                (0_usize, "<|begin_of_text|>"),
                (6, "<|start_header_id|>"),
                (9, "<|eot_id|>"),
                (255, "<|reserved_special_token_245|>"),
            ],
        ),
        (
            200_000,
            202_048,
            "llama4",
            [
                (5, "<|header_start|>"),
                (80, "<|image_start|>"),
                (1143, "<|reasoning_thinking_end|>"),
                (2047, "<|reserved_special_token_903|>"),
            ],
        ),
    ] {
        let folder = Folder::new(
            &json!({"architectures": [if pre == "llama4" { "Llama4ForCausalLM" } else { "LlamaForCausalLM" }]}),
        );
        folder.write("tokenizer.model", ranks(&all[..count]));
        let (metadata, _) = folder.vocabulary("Llama", rows, None).unwrap();
        assert_eq!(metadata.string("tokenizer.ggml.pre"), Some(pre));
        let tokens = strings(&metadata, "tokenizer.ggml.tokens");
        assert_eq!(tokens.len(), rows as usize);
        for (index, text) in known {
            assert_eq!(tokens[count + index], text);
        }
        assert!(!tokens.iter().any(|token| token.starts_with("[PAD")));
        assert_eq!(strings(&metadata, "tokenizer.ggml.merges")[0], "\u{100} \u{100}");
    }
}

#[test]
fn renumbered_tokens_are_noted() {
    let folder = Folder::new(&json!({"architectures": ["LlamaForCausalLM"]}));
    let tokenizer = json!({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "added_tokens": [{"id": 3, "content": "<x>"}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}});
    folder.write("tokenizer.json", tokenizer.to_string());
    let (metadata, notes) = folder.vocabulary("ByteLevel", 4, None).unwrap();
    assert_eq!(strings(&metadata, "tokenizer.ggml.tokens"), ["a", "<x>", "[PAD2]", "[PAD3]"]);
    assert!(notes.iter().any(|note| note.contains("\"<x>\" gets id 1, not 3 as stated")), "{notes:?}");
}

// Bytes are changed one, two or three at a time, from a fixed sequence: whatever comes out, it comes.
#[test]
fn damaged_vocabularies_do_not_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let letters = b"0123456789-=.e[]{}\",: \n\\AZa\xff";
    let ranks = ranks(&tokens(&[b"ab", b"abc"]));
    let tekken = tekken(|_| {});
    for (kind, file, rows, intact) in [
        ("Glm4", "tokenizer.model", 300, &ranks),
        ("Qwen", "qwen.tiktoken", 500, &ranks),
        ("Llama", "tekken.json", 280, &tekken),
    ] {
        let folder = Folder::new(&json!({"architectures": ["Glm4ForCausalLM"], "model_type": "glm4"}));
        for _ in 0..150 {
            let mut damaged = intact.clone().into_bytes();
            for _ in 0..1 + random(3) {
                let at = random(damaged.len());
                damaged[at] = letters[random(letters.len())];
            }
            folder.write(file, &damaged);
            let _ = folder.vocabulary(kind, rows, None);
        }
    }
}
