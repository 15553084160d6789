//! The plan as a document and as a table.

use weightmill_kernels::Dtype;

use crate::golden::Golden;
use crate::request;
use crate::source::Tensors;

/// Three tensors: one that falls back, one that changes its type, one that stays.
fn three() -> Tensors {
    let mut source = Tensors::of(&Golden::named("rows_of_576"));
    source.tensors.retain(|tensor| {
        ["token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_down.weight"].contains(&tensor.name.as_str())
    });
    let norm = source.tensors.iter_mut().find(|tensor| tensor.name == "token_embd.weight").expect("a tensor");
    (norm.name, norm.shape, norm.dtype) = ("output_norm.weight".to_owned(), vec![576], Dtype::F32);
    norm.bytes = 576 * 4;
    source
}

#[test]
fn the_document_has_the_agreed_fields_in_the_agreed_order() {
    let plan = three().plan(None, &request(&["Q4_K_M"])).expect("a plan");
    let document = serde_json::to_string(&plan.report(1.5, 1 << 30)).expect("JSON");
    let bytes = plan.outputs[0].parts[0].bytes;
    let expected = r#"{"input":{"path":"in.gguf","format":"gguf","architecture":"llama","tensors":3,"weights":4800,"bytes":10752},
"outputs":[{"type":"Q4_K_M","path":"out/tiny-Q4_K_M.gguf","bytes":BYTES,"bits_per_weight":9.36,
"tensors":[{"name":"output_norm.weight","shape":[576],"from":"F32","to":"F32","bytes":2304,"fallback":false},
{"name":"blk.0.attn_q.weight","shape":[2,576],"from":"BF16","to":"Q5_0","bytes":792,"fallback":true},
{"name":"blk.0.ffn_down.weight","shape":[2,1536],"from":"BF16","to":"Q6_K","bytes":2520,"fallback":false}],
"warnings":["Q5_0 instead of Q4_K, whose blocks the rows do not fill: blk.0.attn_q.weight"]}],
"seconds":1.5,"memory_bytes":1073741824}"#;
    let expected = expected.replace('\n', "").replace("BYTES", &bytes.to_string());
    assert_eq!(document, expected);
}

#[test]
fn the_table_names_every_fallback() {
    let plan = three().plan(None, &request(&["Q4_K_M"])).expect("a plan");
    let table = weightmill::plan::Table(&plan.outputs[0]).to_string();
    let bytes = plan.outputs[0].parts[0].bytes;
    let expected = "\
Q4_K_M -> out/tiny-Q4_K_M.gguf
tensor                  shape  from  to    bytes
output_norm.weight        576  F32   F32    2304
blk.0.attn_q.weight     2x576  BF16  Q5_0    792  fallback from Q4_K
blk.0.ffn_down.weight  2x1536  BF16  Q6_K   2520
3 tensors, BYTES bytes, 9.36 bits per weight
warning: Q5_0 instead of Q4_K, whose blocks the rows do not fill: blk.0.attn_q.weight
";
    assert_eq!(table, expected.replace("BYTES", &bytes.to_string()));
}
