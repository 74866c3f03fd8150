"""Models of somebody's framework, by their own initialisation: of a transformers config, or of a function that builds one."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from fastinit.checkpoint.errors import UsageError
from fastinit.checkpoint.files import is_config
from fastinit.model.shown import shown
from fastinit.recipe.recipe import Recipe
from fastinit.recipe.record import record

Build = Callable[[], nn.Module]


def build_of(source: str) -> Build:
    """What builds the model of a source that is no preset."""
    return of_config(source) if is_config(source) else of_function(source)


def of_config(source: str) -> Build:
    """What builds the model of a config of transformers: its own class, or else the one for causal language models.

    Raises ``UsageError`` for a config that transformers does not know, and where transformers is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise UsageError("SOURCE: expected transformers to be installed for its config") from None
    path = Path(source)
    try:
        config = transformers.AutoConfig.from_pretrained(path.parent if path.is_file() else path, local_files_only=True)
    except Exception as error:  # whatever transformers raises
        raise UsageError(f"SOURCE: expected a config of transformers, got {shown(source)}: {_said(error)}") from error
    for name in config.architectures or ():
        if isinstance(getattr(transformers, name, None), type):
            return lambda: getattr(transformers, name)._from_config(config)
    any_class: Any = transformers.AutoModelForCausalLM
    return lambda: any_class.from_config(config)


def of_function(name: str) -> Build:
    """``package.module:function``. Raises ``UsageError`` for what is no such function."""
    module, _, function = name.partition(":")
    try:
        call = getattr(importlib.import_module(module), function)
    except (Exception, SystemExit) as error:  # whatever a user's module raises
        raise no_model(name, error) from error
    if not callable(call):
        raise UsageError(f"SOURCE: expected package.module:function, got {name!r}: it is no function")
    return call  # type: ignore[no-any-return]  # what it returns is looked at when it has


def recorded(source: str, build: Build) -> Recipe:
    """The recipe of what a source builds. Raises ``UsageError`` where it builds no model, or none that can be recorded."""
    try:
        return record(build)
    except (Exception, SystemExit) as error:
        if isinstance(error, ValueError | TypeError) and str(error).startswith("model: "):
            raise UsageError(f"SOURCE: {str(error).removeprefix('model: ')}") from None
        raise no_model(source, error) from error


def no_model(source: str, error: BaseException) -> UsageError:
    """What is said of a source that builds none."""
    return UsageError(f"SOURCE: expected a model from {shown(source)}, got {_said(error)}")


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
