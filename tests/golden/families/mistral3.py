"""Mistral Small 3.1 and Ministral 3: the text part of a model that sees images."""
from families import TOKENS, attention, case, ends, mlp, norms

TEXT = {"head_dim": 16, "hidden_act": "silu", "hidden_size": 32, "intermediate_size": 48, "max_position_embeddings": 131072, "model_type": "mistral", "num_attention_heads": 4,
        "num_hidden_layers": 2, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 1000000000.0, "sliding_window": None, "vocab_size": TOKENS}
VISION = {"head_dim": 4, "hidden_size": 8, "image_size": 28, "intermediate_size": 12, "model_type": "pixtral", "num_attention_heads": 2, "num_hidden_layers": 1, "patch_size": 14}
OLD = {"architectures": ["Mistral3ForConditionalGeneration"], "image_token_index": 10, "model_type": "mistral3", "text_config": TEXT, "torch_dtype": "bfloat16",
       "vision_config": VISION}
YARN = {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 16.0, "llama_4_scaling_beta": 0.1, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 16384,
        "rope_theta": 1000000.0, "rope_type": "yarn", "type": "yarn"}
plain = {key: value for key, value in TEXT.items() if key != "rope_theta"}
NEW = {**OLD, "text_config": {**plain, "rope_parameters": {"rope_theta": 1000000000.0, "rope_type": "default"}}, "dtype": "bfloat16"}
del NEW["torch_dtype"]
MINISTRAL = {**NEW, "text_config": {**plain, "model_type": "ministral3", "rope_parameters": YARN}}
ALONE = {**MINISTRAL["text_config"], "architectures": ["Ministral3ForCausalLM"], "dtype": "bfloat16", "tie_word_embeddings": True}


def tensors(prefix="language_model.model.", head="language_model.lm_head", seeing=""):
    out = [(name.replace("lm_head", head), shape) for name, shape in ends(TEXT, prefix=prefix, head=bool(head))]
    for i in range(TEXT["num_hidden_layers"]):
        out += norms(TEXT, i, prefix) + attention(TEXT, i, prefix) + mlp(f"{prefix}layers.{i}.mlp.", TEXT["hidden_size"], TEXT["intermediate_size"])
    if seeing is None:
        return out
    parts = [("vision_tower.ln_pre.weight", (8,)), ("vision_tower.patch_conv.weight", (8, 3, 14, 14)), ("vision_tower.transformer.layers.0.attention.q_proj.weight", (8, 8)),
             ("multi_modal_projector.linear_1.weight", (32, 8)), ("multi_modal_projector.norm.weight", (8,)), ("multi_modal_projector.patch_merger.merging_layer.weight", (8, 32))]
    return out + [(seeing + name, shape) for name, shape in parts]


CASES = {"mistral3": case(OLD, tensors()), "mistral3_new": case(NEW, tensors("model.language_model.", "lm_head", "model.")), "ministral3": case(MINISTRAL, tensors()),
         "ministral3_alone": case(ALONE, tensors("model.", "", None))}
