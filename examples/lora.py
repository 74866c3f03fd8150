"""LoRA by peft: the adapters' numbers come from their names, and what is loaded stays as it is.

CPU: python examples/lora.py
GPU: python examples/lora.py
"""

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

import fastinit

device = "cuda" if torch.cuda.is_available() else "cpu"
config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
base = LlamaForCausalLM(config).to(device)  # or from_pretrained(...)
loaded = {parameter: parameter.detach().clone() for parameter in base.parameters()}


def adapters(rank: int) -> dict[str, torch.Tensor]:
    """Adapters of this rank, made anew on the base, with peft's own laws."""
    model = get_peft_model(base, LoraConfig(r=rank, target_modules=["q_proj", "v_proj"]))
    with fastinit.keyed(model, seed=0) as report:
        for module in model.modules():
            if hasattr(module, "reset_lora_parameters"):
                module.reset_lora_parameters("default", init_lora_weights=True)
    print(report)
    made = {name: weight.detach().clone() for name, weight in model.named_parameters() if "lora_" in name}
    model.unload()
    return made


first, again, larger = adapters(4), adapters(4), adapters(8)
for name, weight in first.items():
    assert torch.equal(weight, again[name]), name
    if "lora_A" in name:  # a law that does not depend on the rank: a larger one has the smaller one's rows, and others
        assert torch.equal(weight, larger[name][:4]), name
assert all(torch.equal(parameter, before) for parameter, before in loaded.items())
