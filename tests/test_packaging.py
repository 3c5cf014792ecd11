"""What a user installs: lock, conda environment, wheel, test command, recipes for schedulers."""

from __future__ import annotations

import ast
import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from datetime import date
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from finops_lab.calendar import add_months, format_month, last_closed_month

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
DEV = [Requirement(text) for group in PROJECT["dependency-groups"].values() for text in group]
# PyPI name to conda-forge name, where they differ.
CONDA_NAMES = {"great-tables": "great_tables", "isal": "python-isal"}
SCHEDULING = (ROOT / "docs" / "scheduling.md").read_text()


def fenced(language: str) -> list[str]:
    """Return the code blocks of docs/scheduling.md in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", SCHEDULING, flags=re.M | re.S)


def test_environment_yml_names_the_packages_and_bounds_of_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    ours = {CONDA_NAMES.get(r.name, r.name) + str(r.specifier) for r in RUNTIME}
    ours |= {"python" + PROJECT["project"]["requires-python"], "pip"}
    assert environment["channels"][0] == "conda-forge"
    listed = environment["dependencies"]
    named = [name for name in listed if isinstance(name, str)]
    named += [name for part in listed if isinstance(part, dict) for name in part["pip"]]
    assert sorted(named) == sorted(ours)


def locked() -> dict[str, tuple[str, list[str]]]:
    """Return version and hashes of each package of requirements.lock (its highest version if several)."""
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        name, version = re.match(r"([A-Za-z0-9._-]+)==([^ ;]+)", line).groups()
        found[canonicalize_name(name)] = (version, re.findall(r"--hash=sha256:([0-9a-f]{64})(?: |$)", line))
    return found


def test_every_locked_package_is_pinned_and_hashed() -> None:
    packages = locked()
    assert len(packages) > 100
    assert [name for name, (_, hashes) in packages.items() if not hashes] == []


def test_the_lock_names_no_host() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert re.findall(r"://|--(?:extra-)?index-url|--find-links|--trusted-host| @ ", text) == []


@pytest.mark.parametrize("requirement", RUNTIME + DEV, ids=lambda r: r.name)
def test_the_lock_satisfies_pyproject(requirement: Requirement) -> None:
    version, _ = locked()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


def test_the_build_backend_is_locked_too() -> None:
    # `make setup` builds without isolation, so that nothing unhashed is fetched.
    for text in PROJECT["build-system"]["requires"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)][0])


LEFT_OUT = ["data/samples/lake/costs/_delta_log/0.json", "data/samples/quarantine/rows.parquet"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """Build from a copy of the tree that has been used: return the names in the wheel and in the sdist."""
    tree = tmp_path_factory.mktemp("build") / "finops-lab"
    tree.mkdir()
    for name in ("finops_lab", "notebooks", "data", "tests", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("lake", "quarantine"))
    for path in ROOT.iterdir():
        if path.is_file() and path.name != "uv.lock":
            shutil.copy(path, tree)
    for name in (*LEFT_OUT, "notebooks/.ipynb_checkpoints/monthly_review.ipynb", "reports/2026-10/r.html"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("made by running, not part of the product")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", "dist"],
        cwd=tree,
        check=True,
        capture_output=True,
    )
    (wheel,), (sdist,) = (tree / "dist").glob("*.whl"), (tree / "dist").glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive, tarfile.open(sdist) as tar:
        in_sdist = {name.partition("/")[2] for name in tar.getnames()}
        return set(archive.namelist()), in_sdist


def source_files(folder: str) -> set[str]:
    """Return the files below a folder of the project, without what running it makes."""
    made = {"lake", "quarantine", "__pycache__", ".ipynb_checkpoints"}
    files = (path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in files if not made & set(path.parts)}


@pytest.mark.parametrize(
    ("folder", "inside"),
    [
        ("finops_lab", "finops_lab"),
        ("notebooks", "finops_lab/_notebooks"),
        ("data/samples", "finops_lab/_samples"),
    ],
)
def test_the_wheel_holds_code_notebooks_and_samples(
    built: tuple[set[str], set[str]], folder: str, inside: str
) -> None:
    wheel, _ = built
    expected = {f"{inside}/{name}" for name in source_files(folder)}
    assert expected
    assert expected - wheel == set()


def test_the_wheel_holds_nothing_else(built: tuple[set[str], set[str]]) -> None:
    wheel, _ = built
    known = {f"finops_lab/{name}" for name in source_files("finops_lab")}
    known |= {f"finops_lab/_notebooks/{name}" for name in source_files("notebooks")}
    known |= {f"finops_lab/_samples/{name}" for name in source_files("data/samples")}
    assert {name for name in wheel - known if ".dist-info/" not in name} == set()
    assert "finops_lab/py.typed" in wheel
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)


def test_the_sdist_holds_what_builds_the_wheel_and_nothing_made_by_running(
    built: tuple[set[str], set[str]],
) -> None:
    _, sdist = built
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "requirements.lock"} <= sdist
    made = re.compile(r"(^|/)(lake|quarantine|reports|\.ipynb_checkpoints|__pycache__|\.venv)/")
    assert [name for name in sdist if made.search(name)] == []


def test_readme_ci_and_makefile_agree_on_the_test_command() -> None:
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.M | re.S)
    given = [line for block in blocks for line in block.splitlines() if re.match(r"make test\b", line)]
    assert {re.sub(r"\s*#.*", "", line) for line in given} == {"make test"}
    # .ci/run holds no test command of its own: it runs the one it finds in the README.
    script = (ROOT / ".ci" / "run").read_text()
    extraction = re.search(r"^commands=.*$", script, flags=re.M)
    assert extraction is not None
    found = subprocess.run(
        ["bash", "-c", f'{extraction[0]}\necho "$commands"'],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout == "make test\n"
    assert 'bash -c "$commands"' in script
    assert not re.search(r"^\s*[^#\n]*pytest", script, flags=re.M)
    # and that command runs everything, notebooks included.
    planned = subprocess.run(
        ["make", "--dry-run", "--always-make", "test"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert "-m pytest --nbval-lax" in planned.stdout
    assert {"tests", "finops_lab", "notebooks"} == set(PROJECT["tool"]["pytest"]["ini_options"]["testpaths"])
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def crontab() -> tuple[dict[str, str], str]:
    """Return the variables and the command of the crontab in docs/scheduling.md."""
    (block,) = fenced("cron")
    *settings, entry = block.strip().splitlines()
    variables = dict(line.split("=", 1) for line in settings)
    schedule = re.match(r"((?:\S+\s+){5})(.*)", entry)
    assert schedule is not None
    return variables, schedule[2]


def documented_commands() -> dict[str, list[str]]:
    """Return the arguments of every scheduler's `finops-lab` command."""
    _, cron = crontab()
    found = {"cron": shlex.split(cron)[: shlex.split(cron).index("||") - 2]}
    for block in fenced("ini"):
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str
        unit.read_string(block)
        if unit.has_section("Service"):
            found["systemd"] = shlex.split(unit["Service"]["ExecStart"])
    (job,) = (yaml.safe_load(block) for block in fenced("yaml"))
    assert job["kind"] == "CronJob"
    assert len(job["spec"]["schedule"].split()) == 5
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    found["kubernetes"] = container["command"]
    (dag,) = fenced("python")
    (returned,) = (node.value for node in ast.walk(ast.parse(dag)) if isinstance(node, ast.Return))
    found["airflow"] = shlex.split(ast.literal_eval(returned))
    return found


@pytest.mark.parametrize("scheduler", ["cron", "systemd", "kubernetes", "airflow"])
def test_documented_commands_use_options_that_exist(scheduler: str) -> None:
    program, command, *arguments = documented_commands()[scheduler]
    assert (Path(program).name, command) == ("finops-lab", "review")
    shown = subprocess.run(
        [Path(sys.executable).parent / "finops-lab", "review", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert shown.returncode == 0, shown.stderr
    known = set(re.findall(r"--[a-z-]+", shown.stdout))
    assert {argument for argument in arguments if argument.startswith("--")} - known == set()
    assert "--lab" in arguments
    assert "--out" in arguments


def small_lab(folder: Path, months: list[date]) -> Path:
    """Write a lab whose bill has one charge in each month."""
    (folder / "exports").mkdir(parents=True)
    (folder / "finops.toml").write_text('[lab]\nname = "Crontab test (synthetic)"\ncurrency = "USD"\n')
    header = (
        "BilledCost,EffectiveCost,BillingCurrency,BillingAccountId,BillingPeriodStart,BillingPeriodEnd,"
        "ChargePeriodStart,ChargePeriodEnd,ChargeCategory,ProviderName,ServiceName"
    )
    rows = [
        f"12.5,12.5,USD,a-1,{m}T00:00:00Z,{add_months(m, 1)}T00:00:00Z,"
        f"{m}T00:00:00Z,{m.replace(day=2)}T00:00:00Z,Usage,Example Cloud,Compute"
        for m in months
    ]
    (folder / "exports" / "bill.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def run_crontab(home: Path, lab: Path) -> subprocess.CompletedProcess[str]:
    """Run the documented crontab's command as cron would: its shell, its variables, nothing else."""
    variables, command = crontab()
    # cron turns a bare % into a line end, and expands nothing in a variable's value.
    assert "%" not in command.replace("\\%", "")
    assert not any("$" in value for value in variables.values())
    programs = variables["PATH"].replace("/srv/finops/.venv/bin", str(Path(sys.executable).parent))
    assert programs != variables["PATH"]
    # Only the placeholders below /srv/finops are ours to fill; the command line stays as documented.
    environment = {"HOME": str(home), "LOGNAME": "finops", **variables, "PATH": programs}
    environment |= {"LAB": str(lab), "OUT": str(home / "reports"), "LOG": str(home / "review.log")}
    return subprocess.run(
        [variables["SHELL"], "-c", command], cwd=home, env=environment, capture_output=True, text=True
    )


def test_the_crontab_line_reviews_the_month_that_ended(tmp_path: Path) -> None:
    # The line reads the real date, as cron's does. The bill covers the running month too, so that
    # the test also passes in the minute in which a month ends.
    previous = last_closed_month(date.today())
    lab = small_lab(tmp_path / "lab", [add_months(previous, -1), previous, add_months(previous, 1)])
    done = run_crontab(tmp_path, lab)
    log = (tmp_path / "review.log").read_text()
    assert done.returncode == 0, log
    assert (done.stdout, done.stderr) == ("", "")  # what cron would mail
    (page,) = (tmp_path / "reports").rglob("*.html")
    assert page.name == "monthly-review.html"
    assert page.parent.name in [format_month(m) for m in (previous, add_months(previous, 1))]


def test_the_crontab_line_tells_a_failure(tmp_path: Path) -> None:
    done = run_crontab(tmp_path, tmp_path / "no-such-lab")
    assert done.returncode == 2
    assert done.stdout == f"monthly review: exit 2, see {tmp_path / 'review.log'}\n"
    log = (tmp_path / "review.log").read_text()
    assert "no-such-lab" in log
    assert "Traceback" not in log
