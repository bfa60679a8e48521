"""Commands that talk to somebody else: the Hub, a Ray cluster, a run under way, a caller of the fake provider."""

from pathlib import Path

from pipeline.arguments.kinds import names
from pipeline.arguments.options import Commands, new_command, with_outputs, with_run_options


def add(commands: Commands) -> None:
    """Add them."""
    publish = new_command(commands, "publish", "send:publish", "push a run's export to the Hugging Face Hub")
    publish.add_argument("run", metavar="RUN")
    publish.add_argument("--repo", metavar="USER/NAME", help="default: publish.repo of the recipe")
    publish.add_argument("--public", action="store_true", help="create the dataset public; private otherwise")
    publish.add_argument("--pr", action="store_true", help="as a pull request; again, as a commit to the same one")
    publish.add_argument("--tag", metavar="NAME", help="tag the version, as in v1.0; 'auto' counts")
    publish.add_argument(
        "--only-licenses", type=names, metavar="NAMES", help="export again with rows under these alone: mit,apache-2.0"
    )
    publish.add_argument("--allow-secrets", action="store_true", help="do not look for keys in the files")
    publish.add_argument("--allow-personal", action="store_true", help="do not look for personal data in the rows")
    publish.add_argument("--allow-failed", action="store_true", help="even if expectations of the recipe failed")
    publish.add_argument("--dry-run", action="store_true", help="print exactly what would change")
    publish.add_argument("--json", action="store_true", help="print the result as JSON")
    with_outputs(publish)

    submit = new_command(commands, "submit", "send:submit", "send a run to a Ray cluster as a job")
    submit.add_argument("recipe", type=Path, metavar="RECIPE")
    submit.add_argument("--job-server", required=True, metavar="URL", help="such as http://head:8265")
    submit.add_argument("--no-wait", action="store_true", help="do not follow the job's log")
    with_run_options(submit)

    control = new_command(commands, "ctl", "send:control", "pause, resume, stop or retune a run that is under way")
    control.add_argument("run", metavar="RUN")
    control.add_argument("action", choices=("pause", "resume", "stop", "set"))
    control.add_argument(
        "limits",
        nargs="*",
        metavar="[ROLE.]LIMIT=VALUE",
        help="with set: concurrency, requests_per_minute or tokens_per_minute, of all roles or of one, until it ends",
    )
    with_outputs(control)

    fake = new_command(commands, "fake-provider", "send:fake_provider", "serve scripted replies on the OpenAI protocol")
    fake.add_argument("--script", type=Path, metavar="FILE", help="default: the rehearsal script")
    fake.add_argument("--port", type=int, default=0, metavar="N", help="default: a free one")
