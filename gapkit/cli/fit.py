"""`gapkit fit` and `gapkit update`: from labelled files to a model file, with a summary."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from gapkit.cli.inputs import load_model, new_gap, read_labelled
from gapkit.cli.options import (
    Flags,
    Json,
    Model,
    ModelOutput,
    Optimize,
    Quiet,
    TrainingFiles,
    option,
    settings_of,
    with_key_options,
    with_model_options,
    with_tensor_options,
)
from gapkit.cli.terminal import Say, log_to, print_json, speaker, warnings_kept
from gapkit.errors import InputError
from gapkit.runtime.files import check_output
from gapkit.structures.label_keys import LOG as LABELS_LOG

if TYPE_CHECKING:
    from distributed import Client

    from gapkit.cli.inputs import LabelledFiles
    from gapkit.potential.gap import GAP
    from gapkit.potential.settings import ModelSettings

SCALE = "Large data"
CONNECT = 10  # s to wait for a scheduler


class Means(NamedTuple):
    """Memory, checkpoint and workers of a fit; none of them changes the result."""

    max_memory: str | None
    checkpoint: Path | None
    resume: bool
    workers: int | None
    scheduler: str | None

    def check(self, inputs: Sequence[Path | None]) -> None:
        """Raise `InputError` for options that are invalid or exclude each other, before any work."""
        from gapkit.runtime.memory import in_bytes

        in_bytes(self.max_memory)
        if self.workers is not None and self.scheduler is not None:
            raise InputError("--workers starts processes here, --scheduler uses those of a cluster: give one of them.")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"--workers {self.workers} must be 1 or more: it is a number of processes.")
        if (self.workers or self.scheduler) and find_spec("distributed") is None:
            raise InputError("--workers and --scheduler need Dask: pip install 'gapkit[dask]'.")
        if self.resume and self.checkpoint is None:
            raise InputError("--resume goes on from a checkpoint: name its file with --checkpoint.")
        if self.checkpoint is not None:
            check_output(self.checkpoint, inputs)
            if self.checkpoint.exists() and not self.resume:
                raise InputError(
                    f"there is a checkpoint '{self.checkpoint}' already: go on from it with --resume, or remove it to "
                    "start again."
                )

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM say how to go on."""
        try:
            yield
        except KeyboardInterrupt as error:
            if self.checkpoint is not None and self.checkpoint.exists():
                sentence = f"the state of the fit is in '{self.checkpoint}', go on with --resume"
                raise type(error)(sentence) from error
            raise

    @contextmanager
    def client(self) -> Iterator[Client | int | None]:
        """What `GAP.fit` takes: a number of processes, a client of a running cluster, or nothing."""
        if self.scheduler is None:
            yield self.workers
            return
        from distributed import Client

        try:
            client = Client(self.scheduler, timeout=CONNECT)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise InputError(f"no Dask scheduler can be reached at '{self.scheduler}' ({reason}): start it.") from None
        with client:
            yield client


@with_tensor_options
@with_model_options
def fit(
    train: TrainingFiles,
    flags: Flags,
    tensor: dict[str, Any],
    output: ModelOutput = Path("model.gap"),
    optimize: Optimize = None,
    updatable: Annotated[
        bool,
        option("Keep in the model file what gapkit update needs: 4 n_sparse² bytes for each noise.", "--updatable"),
    ] = False,
    max_memory: Annotated[
        str | None, option("Memory that may be used, such as 4GB.", panel=SCALE, show_default="no limit")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        option("File for the state of the fit, written every minute and removed at the end.", panel=SCALE),
    ] = None,
    resume: Annotated[
        bool, option("Go on from the checkpoint, if it is there, to the very same model.", "--resume", panel=SCALE)
    ] = False,
    workers: Annotated[
        int | None,
        option("Processes to share the work among (needs the dask extra).", panel=SCALE, show_default="threads only"),
    ] = None,
    scheduler: Annotated[
        str | None, option("Address of a running Dask scheduler, such as tcp://node7:8786.", panel=SCALE)
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Fit a potential (with --target: dipoles, polarisabilities, …) to labelled structures and write a model file.

    Frames are read from the files as they are needed; memory does not grow with their number.
    """
    means = Means(max_memory, checkpoint, resume, workers, scheduler)
    if tensor:
        from gapkit.cli.tensors import fit_tensor

        others = {"updatable": updatable, **means._asdict()}
        fit_tensor(train, flags, tensor, others, output, optimize, quiet, as_json)
        return
    inputs = (*train, flags.config)
    check_output(output, inputs)
    means.check(inputs)
    settings = settings_of(flags, optimize)
    say = speaker(quiet, to_stderr=as_json)
    with warnings_kept() as warned:
        data = read_labelled(train, settings.keys, say, not quiet)
        result = _fit(data, output, settings, means, updatable, say, verbose=not quiet)
    if as_json:
        print_json(result | {"warnings": warned})


@with_key_options
def update(
    model: Model,
    keys: dict[str, str],
    output: ModelOutput = Path("updated.gap"),
    add: Annotated[list[Path] | None, option("Labelled structures to add; repeat for several files.")] = None,
    remove: Annotated[
        list[Path] | None, option("Training structures to take out, with the very labels that were fitted.")
    ] = None,
    add_sparse: Annotated[
        int | None, option("Sparse points to add per term and species, far from those there are.")
    ] = None,
    train: Annotated[
        list[Path] | None,
        option("For --add-sparse: all files that the model was fitted to, in the same order; repeat for each."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Add or remove training structures, or add sparse points, without fitting everything again.

    The result is that of a fit to all structures that are left, with the same e0, noises and amplitudes. The model must
    come from gapkit fit --updatable; what is written can be updated again.
    """
    _check_update(add, remove, add_sparse, train)
    check_output(output, (model, *(add or ()), *(remove or ()), *(train or ())))
    say = speaker(quiet, to_stderr=as_json)
    gap = load_model(model, verbose=not quiet)
    if gap.factors_ is None and (add or add_sparse is None):
        raise InputError(
            f"'{model}' was written without what an update needs: make it again with gapkit fit --updatable."
        )
    before = _state(gap)
    with warnings_kept() as warned:
        files = {"add": add, "remove": remove, "train": train and [*train, *(add or ())]}
        _update(gap, _read_all(files, keys, say, not quiet), add_sparse, say)
    gap.save(output, updatable=True)
    after = _state(gap)
    say(_changes(before, after))
    say(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
    if as_json:
        print_json({"model": str(output), "before": before, "after": after, "warnings": warned})


# ---- fit


def _fit(
    data: LabelledFiles, output: Path, settings: ModelSettings, means: Means, updatable: bool, say: Say, verbose: bool
) -> dict[str, Any]:
    from gapkit.cli.fit_summary import describe_fit, fit_summary, outlier_frames
    from gapkit.evaluation.compare import evaluate as compare
    from gapkit.structures.frames import labelled_frames

    gap = new_gap(settings, data, verbose)
    start = time.perf_counter()
    with means.client() as client, log_to(say, leave_out=LABELS_LOG), means.interrupted():
        gap.fit(
            data.paths,
            keys=data.keys,
            optimize=settings.optimize,
            max_memory=means.max_memory,
            checkpoint=means.checkpoint,
            resume=means.resume,
            client=client,
        )
    seconds = time.perf_counter() - start
    outliers = outlier_frames(gap, labelled_frames(data.paths, data.keys))
    describe_fit(gap, seconds, say, outliers)
    errors = compare(gap, data.sample, return_std=False)  # before a model is written, should it predict nonsense
    gap.save(output, updatable=updatable)
    part = "the" if data.complete else f"{len(data.sample)} of the {data.n_frames}"
    drawn = "" if data.complete else ", drawn at random"
    say(f"errors on {part} training structures{drawn}\n{errors.table()}")
    say(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")
    summary = {"model": str(output), "seconds": seconds, "n_evaluated": len(data.sample), "errors": errors.summary()}
    return summary | fit_summary(gap, outliers)


# ---- update


def _check_update(
    add: list[Path] | None, remove: list[Path] | None, add_sparse: int | None, train: list[Path] | None
) -> None:
    if not (add or remove or add_sparse is not None):
        raise InputError("there is nothing to update: give --add, --remove or --add-sparse.")
    if add_sparse is not None and add_sparse < 1:
        raise InputError(f"--add-sparse {add_sparse} must be 1 or more: it is a number of sparse points.")
    if add_sparse is not None and not train:
        raise InputError("--add-sparse needs all frames that the model was fitted to: name their files with --train.")
    if train and add_sparse is None:
        raise InputError("--train is for --add-sparse only: to add structures, use --add.")


def _read_all(
    files: Mapping[str, list[Path] | None], keys: Mapping[str, str], say: Say, show: bool
) -> dict[str, LabelledFiles]:
    """The files of each option, all read before the first change."""
    found = {}
    for name, paths in files.items():
        if paths:
            say(f"structures of --{name}")
            found[name] = read_labelled(paths, keys, say, show)
    return found


def _update(gap: GAP, data: Mapping[str, LabelledFiles], add_sparse: int | None, say: Say) -> None:
    """Removal comes last: sparse points can only be added while all frames are known in their order."""
    with log_to(say, leave_out=LABELS_LOG):
        if "add" in data:
            gap.partial_fit(data["add"].paths, keys=data["add"].keys)
        if add_sparse is not None:
            gap.add_sparse_points(data["train"].paths, add_sparse, keys=data["train"].keys)
        if "remove" in data:
            gap.remove(data["remove"].paths, keys=data["remove"].keys)


def _state(gap: GAP) -> dict[str, Any]:
    return {
        "structures": gap.training_["n_structures"],
        "labels": gap.posterior_.n_rows,
        "sparse_points": len(gap.alpha_),
        "log_evidence": gap.posterior_.log_marginal_likelihood,
    }


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    lines = []
    for name, value in after.items():
        old, new = (f"{x:.2f}" if isinstance(x, float) else str(x) for x in (before[name], value))
        lines.append(f"{name.replace('_', ' ')}: {old}" + (f" → {new}" if new != old else ", as before"))
    return "\n".join(lines)
