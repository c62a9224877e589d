"""The `hares` command. Subcommands are found by name in `cli/commands/` and imported when they are called."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import click

from cli.errors import CommandError, ExitCode, file_failure, not_installed
from cli.own_packages import OF_A_RUN, check_ours, hidden_package
from cli.quiet import turn_libraries_down


class _Commands(click.Group):
    """Finds a subcommand's module by its name, so that `hares --help` imports nothing heavy."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        package = importlib.import_module("cli.commands")
        return sorted(info.name.replace("_", "-") for info in pkgutil.iter_modules(package.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        # An encoder that `hares evaluate` scores may bring packages with names of ours that this command does not need.
        check_ours("hares") if cmd_name == "evaluate" else check_ours(*OF_A_RUN)
        command: click.Command = importlib.import_module(f"cli.commands.{cmd_name.replace('-', '_')}").command
        return command


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="hares-tfx", prog_name="hares")
def hares() -> None:
    """Universal audio representations: pretraining on TFX, and the HARES benchmark of 12 tasks.

    \b
    hares demo                                          everything, on a corpus it makes itself
    hares corpus check DIR                              what is in a folder of data sets
    hares run --config demo --corpus DIR --workspace W  the pipeline, on this machine
    hares workspace gc --workspace W                    remove what nothing in a workspace refers to
    hares report W                                      its scores again, beside the paper's
    hares lineage trace SCORE --workspace W             which bytes, code and settings made a number
    hares evaluate --encoder SPEC --corpus DIR          HARES for any encoder, without TFX
    hares doctor --target vertex --cluster FILE         what would fail there, before it is submitted
    hares presets                                       every row of the paper's tables as a preset
    hares study --grid tiny --corpus DIR --workspace W  a grid of presets, and table 2 from it
    hares compile --target kubeflow --cluster FILE ...  the pipeline as one file that a cluster runs
    hares run-compiled FILE --folder DIR                that file, step by step, on this machine
    hares submit --target kubeflow --cluster FILE X     a compiled pipeline on a cluster; schedule, runs as well
    hares import-weights --encoder NAME --from FILE     published weights, made ready for it

    Exit codes: 0 done, 2 usage, 3 wrong setting, 4 unusable data, 5 a step failed, 6 interrupted,
    7 the model was not blessed (with --require-blessing), 8 the metadata store cannot be reached,
    9 the cluster's API refuses or cannot be reached, 10 another run is at work in the workspace or output folder,
    11 the command needs a package that is not installed.
    """


def main() -> None:
    """Runs the command. A foreseen failure becomes one line on stderr and an exit code for its kind.

    After a signal the exit code is 6, whatever error the signal caused in a library.
    """
    turn_libraries_down()
    interruption = None
    try:
        from hares.interruption import Interruptible  # here, so that a package that hides ours is reported

        interruption = Interruptible()
        with interruption:
            hares.main(standalone_mode=False, obj=interruption)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except BaseException as error:
        code = _said(error, interruption is not None and interruption.requested)
        if code is None:
            raise
        sys.exit(code)


def _said(error: BaseException, interrupted: bool) -> int | None:
    """Prints why the command ends and returns its exit code; None for an unforeseen error."""
    if isinstance(error, ImportError) and (hidden := hidden_package(error)):
        click.echo(f"hares: {error}{hidden}", err=True)
        return int(ExitCode.SETTINGS)
    from cli.terminal import one_line
    from hares.interruption import GOES_ON

    if isinstance(error, ModuleNotFoundError) and not interrupted:
        error = not_installed(error)
    if isinstance(error, CommandError) and (not interrupted or error.code is ExitCode.INTERRUPTED):
        click.echo(f"hares: {one_line(error)}{hidden_package(error)}", err=True)
        return int(error.code)
    if interrupted or isinstance(error, click.Abort | KeyboardInterrupt):
        click.echo(f"hares: interrupted; {GOES_ON}", err=True)
        return int(ExitCode.INTERRUPTED)
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, OSError) and (failure := file_failure(error)):
        click.echo(f"hares: {one_line(failure)}", err=True)
        return int(failure.code)
    return None


if __name__ == "__main__":
    main()
