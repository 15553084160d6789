"""StarCoder (GPTBigCode) and StarCoder 2: biases everywhere, layer norms with offsets."""
from families import REMOVED, TOKENS, attention, base, case, ends, mlp, norms


def with_biases(tensors):
    return [x for name, shape in tensors for x in ((name, shape), (name.removesuffix("weight") + "bias", shape[:1]))]


def starcoder2(c):
    embeddings, norm = ends(c, head=False)
    out = [embeddings, *with_biases([norm])]
    for i in range(c["num_hidden_layers"]):
        out += with_biases(norms(c, i) + attention(c, i) + mlp(f"model.layers.{i}.mlp.", c["hidden_size"], c["intermediate_size"], ("c_fc", "c_proj")))
    return out


def bigcode(c):
    h, d = c["n_embd"], c["n_embd"] // c["n_head"]
    out = [("transformer.wte.weight", (TOKENS, h)), ("transformer.wpe.weight", (c["n_positions"], h)), *with_biases([("transformer.ln_f.weight", (h,))])]
    for i in range(c["n_layer"]):
        p = f"transformer.h.{i}."
        out += with_biases([(p + "ln_1.weight", (h,)), (p + "attn.c_attn.weight", (h + 2 * d, h)), (p + "attn.c_proj.weight", (h, h)),
                            (p + "ln_2.weight", (h,)), (p + "mlp.c_fc.weight", (4 * h, h)), (p + "mlp.c_proj.weight", (h, 4 * h))])
    return out


STARCODER2 = base("Starcoder2ForCausalLM", "starcoder2", hidden_act="gelu_pytorch_tanh", norm_epsilon=1e-5, norm_type="layer_norm", use_bias=True,
                  mlp_type="default", sliding_window=4096, tie_word_embeddings=True, rope_theta=999999.4420358813, rms_norm_eps=REMOVED)
BIGCODE = {"architectures": ["GPTBigCodeForCausalLM"], "model_type": "gpt_bigcode", "torch_dtype": "bfloat16", "n_embd": 32, "n_head": 4, "n_layer": 2,
           "n_inner": 128, "n_positions": 64, "vocab_size": TOKENS, "layer_norm_epsilon": 1e-5, "multi_query": True,
           "activation_function": "gelu_pytorch_tanh", "bos_token_id": 280, "eos_token_id": 280, "tie_word_embeddings": True}
CASES = {"starcoder2": case(STARCODER2, starcoder2(STARCODER2)), "gpt_bigcode": case(BIGCODE, bigcode(BIGCODE))}
