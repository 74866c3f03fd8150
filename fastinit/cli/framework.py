"""Models of somebody's framework, by their own initialisation: of a transformers config, or of a function that builds one."""

import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.files import is_config
from fastinit.checkpoint.live import Live, of_build
from fastinit.model.shown import shown

Build = Callable[[], nn.Module]

# In which transformers is asked for the class of a config that names none.
_HEADS = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForSpeechSeq2Seq", "AutoModel")


def live_of(source: str, dtype: torch.dtype | None, own: bool = True) -> Live:
    """The model of a source that is no preset, with its own laws; they may be none, unless they are asked for.

    Raises ``UsageError`` where it builds no model, or none that can be recorded.
    """
    build = of_config(source, dtype) if is_config(source) else of_function(source)
    try:
        return of_build(build, dtype, own)
    except (Exception, SystemExit) as error:  # whatever a user's function raises
        if isinstance(error, UsageError):
            raise
        if isinstance(error, ValueError | TypeError) and str(error).startswith("model: "):
            raise UsageError(f"SOURCE: {str(error).removeprefix('model: ')}") from None
        raise _no_model(source, error) from error


def of_config(source: str, dtype: torch.dtype | None) -> Build:
    """What builds the model of a config of transformers: its own class, or else the first that there is for language.

    Nothing is downloaded, and no code but transformers' own is run. A model of a quantised one's config is not quantised.

    Raises ``UsageError`` for a config that transformers does not know, and where transformers is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise UsageError("SOURCE: expected transformers to be installed for its config") from None
    path = Path(source)
    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever transformers raises
        raise UsageError(f"SOURCE: expected a config of transformers, got {shown(source)}: {_said(error)}") from error
    if getattr(config, "quantization_config", None) is not None:
        del config.quantization_config
    build = _build_of(config, transformers)
    return lambda: build(config, **({} if dtype is None else {"dtype": dtype}))


def _build_of(config: Any, transformers: Any) -> Any:
    for name in config.architectures or ():
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found._from_config  # type: ignore[attr-defined]  # the class has it
    for name in _HEADS:
        auto = getattr(transformers, name)
        if type(config) in auto._model_mapping:
            return partial(auto.from_config, trust_remote_code=False)
    raise UsageError(f"SOURCE: expected a config of a model that transformers has, got {shown(config.model_type)}")


def of_function(name: str) -> Build:
    """``package.module:function``, also of a module in the current folder. Raises ``UsageError`` for what is no such function."""
    module, _, function = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        call = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        raise _no_model(name, error) from error
    if not callable(call):
        raise UsageError(f"SOURCE: expected package.module:function, got {name!r}: it is no function")
    return call  # type: ignore[no-any-return]  # what it returns is looked at when it has


def _no_model(source: str, error: BaseException) -> UsageError:
    return UsageError(f"SOURCE: expected a model from {shown(source)}, got {_said(error)}")


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
