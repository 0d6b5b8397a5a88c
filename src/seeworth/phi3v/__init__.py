"""Phi-3-Vision on today's transformers: pixels and ids <-> logits, native, no remote code.

    from seeworth.phi3v import Phi3VConfig, Phi3VForCausalLM, Phi3VImageProcessor, Phi3VProcessor

Importing this package registers the classes with transformers' Auto classes under `model_type: phi3_v`.
"""

from transformers import AutoConfig, AutoImageProcessor, AutoModelForCausalLM, AutoProcessor

from .configuration import Phi3VConfig, Phi3VError
from .image_processing import Phi3VImageProcessor
from .modeling import Phi3VForCausalLM, Phi3VModel
from .processing import Phi3VProcessor
from .tiling import Tiling, plan

AutoConfig.register("phi3_v", Phi3VConfig, exist_ok=True)
AutoModelForCausalLM.register(Phi3VConfig, Phi3VForCausalLM, exist_ok=True)
AutoImageProcessor.register(Phi3VConfig, image_processor_classes={"pil": Phi3VImageProcessor}, exist_ok=True)
AutoProcessor.register(Phi3VConfig, Phi3VProcessor, exist_ok=True)

__all__ = [
    "Phi3VConfig",
    "Phi3VError",
    "Phi3VForCausalLM",
    "Phi3VImageProcessor",
    "Phi3VModel",
    "Phi3VProcessor",
    "Tiling",
    "plan",
]
