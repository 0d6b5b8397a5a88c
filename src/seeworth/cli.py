"""The command line: verb -> (settings class, "module:function"). No logic.

Exit status 0 done; 1 a problem that the user can fix, told in one line; 2 wrong usage. torch is imported when a verb needs it.
"""

from __future__ import annotations

import sys
import warnings
from argparse import ArgumentError
from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import settings as s
from .errors import SeeworthError
from .say import say
from .usage import fault

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

# verb: (settings class, where the work is, whether required settings are positional)
VERBS: dict[str, tuple[type[Any], str, bool]] = {
    "sample": (s.SampleSettings, "seeworth.data.sample.run:run", True),
    "import": (s.ImportSettings, "seeworth.data.run:run", True),
    "check": (s.CheckSettings, "seeworth.check:run", True),
    "train": (s.TrainSettings, "seeworth.train.run:run", False),
    "predict": (s.PredictSettings, "seeworth.predict.run:run", True),
    "evaluate": (s.EvaluateSettings, "seeworth.report.run:evaluate_and_report", True),
    "report": (s.ReportSettings, "seeworth.report.run:run", True),
    "serve": (s.ServeSettings, "seeworth.serve.start:run", True),
    "export": (s.ExportSettings, "seeworth.export.run:run", True),
    "demo": (s.DemoSettings, "seeworth.demo:run", False),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    words = _bare_flags(list(sys.argv[1:] if argv is None else argv))
    try:
        arguments = build_parser(words[0] if words else "").parse_args(words)
    except ArgumentError as problem:
        say(_wrong_usage(words, problem), error=True)
        return 2
    except UnicodeDecodeError as problem:  # of all that can be wrong with a --config file, what the parser does not tell itself
        say(f"seeworth {words[0]}: --config is no text file in UTF-8: {problem}", error=True)
        return 1
    verb = arguments.verb
    settings_class, place, _ = VERBS[verb]
    values = {key: value for key, value in vars(arguments[verb]).items() if key != "config"}
    module, function = place.split(":")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # libraries' notes to developers; ours are printed
            getattr(import_module(module), function)(settings_class(**values))
    except KeyboardInterrupt:
        say(f"seeworth {verb}: stopped by the keyboard", error=True)
        return 130
    except Exception as problem:
        if not isinstance(problem, (SeeworthError, OSError, *_model_errors())):
            raise
        say(f"seeworth {verb}: {' '.join(str(problem).split())}", error=True)
        return 1
    return 0


def build_parser(only: str = "") -> ArgumentParser:
    """All verbs with their settings; the sentence under a setting is its help. `only`: a verb, the others' settings are left out."""
    from jsonargparse import ArgumentParser, set_parsing_settings  # here: worker processes import this module too, and parse nothing

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog="seeworth",
        description="Fine-tune Phi-3-Vision on your own photos, know whether it really learnt, and put it to use.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    verbs = parser.add_subcommands(dest="verb", required=True, metavar="VERB")
    for verb, (settings_class, _, positional) in VERBS.items():
        words = (settings_class.__doc__ or "").strip()
        one = ArgumentParser(description=words, exit_on_error=False, allow_abbrev=False)
        if only not in VERBS or verb == only:  # reading all their signatures takes a sixth of a second
            one.add_argument("--config", action="config", help="YAML file with settings; arguments after it win.")
            one.add_class_arguments(settings_class, as_group=False, as_positional=positional)
        verbs.add_subcommand(verb, one, help=words)
    return parser


def _bare_flags(argv: list[str]) -> list[str]:
    """`--overwrite` alone means `--overwrite true`, as people expect of a switch, and a switch that may be left to us takes `auto` too;
    `--num_crops=None` means null where a setting may be left out, for so an agent of `wandb sweep` writes it.
    """
    settings_class, _, positional = VERBS[argv[0]] if argv and argv[0] in VERBS else (None, "", False)
    known = fields(settings_class) if settings_class else ()
    switches = {f"--{one.name}": ("true", "false", *(["auto"] if "auto" in str(one.type) else [])) for one in known if _is_switch(one.type)}
    nothing = {f"--{one.name}=None": f"--{one.name}=null" for one in known if one.default is None}

    def is_value(switch: str, word: str) -> bool:
        """Where words may stand by place, only those that the switch knows are its own; elsewhere a wrong one is told."""
        return word.lower() in switches[switch] if positional else bool(word) and not word.startswith("--")

    words: list[str] = []
    for word, after in zip(argv, [*argv, ""][1:], strict=True):
        if words and words[-1] in switches:
            words.append(word.lower() if word.lower() in switches[words[-1]] else word)  # True and False, as Python writes them
        else:
            words.append(f"{word}=true" if word in switches and not is_value(word, after) else nothing.get(word, word))
    return words


def _is_switch(kind: object) -> bool:
    return str(kind).startswith("bool")


def _wrong_usage(words: Sequence[str], problem: Exception) -> str:
    """One line: the fault, and where to read on."""
    verb = words[0] if words else ""
    if verb not in VERBS:
        given = f"{verb!r} is no verb" if verb else "no verb is given"
        return f"seeworth: {given}, expected {', '.join(VERBS)} (seeworth --help says what each does)"
    settings_class, _, positional = VERBS[verb]
    said = fault(problem, settings_class, positional=positional, typed=words)
    return f"seeworth {verb}: {said} (seeworth {verb} --help lists the settings)"


def _model_errors() -> tuple[type[Exception], ...]:
    """The model package's own error, when a verb has loaded it: it imports nothing of ours, so it stands outside our tree."""
    package = sys.modules.get("seeworth.phi3v")
    return (package.Phi3VError,) if package else ()


if __name__ == "__main__":
    sys.exit(main())
