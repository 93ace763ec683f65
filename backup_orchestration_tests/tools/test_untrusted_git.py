"""Git repositories that were made to do harm: what is in them is neither run nor followed out of the lab. Real git."""

import os
import shutil
from datetime import UTC, datetime

import pytest
from hostile import HEADING, Outside, alarmed, assert_printable, peak_growth

from backup_orchestration.core import manifest
from backup_orchestration.core.errors import ProbeFailedError
from backup_orchestration.core.policy import BackupPolicy
from backup_orchestration.core.redaction import REDACTOR
from backup_orchestration.core.snapshot import Snapshot
from backup_orchestration.core.sources import Files
from backup_orchestration.devlab import seed
from backup_orchestration.probes.base import NoOptions, Restored
from backup_orchestration.probes.git import GitProbe

pytestmark = pytest.mark.tools

HOOKS = ("post-checkout", "post-update", "pre-auto-gc", "pre-receive", "reference-transaction", "update")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A bare repository with two commits, and a symbolic reference as mirrors have it."""
    root = tmp_path_factory.mktemp("good")
    seed.seed(root / "services")
    repository = root / "services/gitlab/repositories" / seed.REPOSITORIES[0]
    seed.git("--git-dir", str(repository), "symbolic-ref", "refs/remotes/origin/HEAD", "refs/heads/main")
    return repository


class Case:
    """A source with one repository, recorded as a backup records it, and restored."""

    def __init__(self, root, good, name="a.git"):
        self.source, self.lab = root / "source", root / "lab"
        self.live = self.source / name
        shutil.copytree(good, self.live, symlinks=True)
        self.outside = Outside(root / "outside")
        self.policy = BackupPolicy(target="app/git", source=Files(path=self.source))
        self.repository = self.lab / str(self.source)[1:] / name
        self.recorded = None

    def record(self):
        with alarmed():
            self.recorded = GitProbe().record(self.policy, NoOptions())
        self.outside.assert_untouched()

    def restore(self):
        """Record the source and restore it; what was planted in it comes along."""
        self.record()
        (self.lab / "staging").mkdir(parents=True)
        header = manifest.Header("app/git", "run", (str(self.source),), 0, {}, {"git": self.recorded})
        with (self.lab / "staging" / manifest.FILENAME).open("w") as out:
            manifest.write(out, header, iter(()), lambda: 0)
        shutil.copytree(self.source, self.lab / str(self.source)[1:], symlinks=True)
        return self

    def said(self):
        """What the probe says; nothing outside was touched, read or run."""
        moment = datetime(2020, 1, 1, tzinfo=UTC)  # long before anything here was written
        paths = (str(self.source), f"/staging/{manifest.FILENAME}")
        snapshot = Snapshot("app/git", "restic", "", "", "a" * 64, moment, 1, paths=paths, finished_at=moment)
        with alarmed():
            try:
                found = GitProbe().check(Restored(self.lab, self.policy, snapshot, moment), NoOptions()).summary
            except ProbeFailedError as error:
                found = error.message
        shown = REDACTOR.clean(found)
        self.outside.assert_untouched(found)
        assert_printable(shown)
        return shown.replace(str(self.source), "").replace(str(self.lab.parent), "")


def obedient(case):
    """Whatever git lets a repository run, set to a program outside."""
    program = case.outside.program
    (case.live / "hooks").mkdir(exist_ok=True)
    for name in HOOKS:
        shutil.copy2(program, case.live / "hooks" / name)
    running = (
        "core.fsmonitor", "core.sshCommand", "core.pager", "core.editor", "core.alternateRefsCommand", "core.gitProxy",
        "core.askPass", "gpg.program", "diff.external", "filter.x.clean", "filter.x.smudge", "filter.x.process",
        "uploadpack.packObjectsHook", "remote.origin.uploadpack", "sequence.editor", "interactive.diffFilter",
    )  # fmt: skip
    settings = dict.fromkeys(running, str(program)) | {
        "alias.fsck": f"!{program}", "alias.for-each-ref": f"!{program}", "credential.helper": f"!{program}",
        "core.hooksPath": str(case.live / "hooks"), "core.repositoryFormatVersion": "1", "gc.auto": "1",
        "extensions.partialClone": "origin", "remote.origin.promisor": "true",
        "remote.origin.url": f"ext::{program}", "protocol.ext.allow": "always", "protocol.allow": "always",
        "core.attributesFile": str(case.live / "info/attributes"), "fsck.skipList": str(case.outside.file),
        "include.path": str(case.live / "more"),
    }  # fmt: skip
    for name, value in settings.items():
        seed.git("config", "--file", str(case.live / "config"), name, value)
        if not name.startswith("include"):
            seed.git("config", "--file", str(case.live / "more"), name, value)
    (case.live / "info").mkdir(exist_ok=True)
    (case.live / "info" / "attributes").write_text("* filter=x diff=x\n")


def lost_main(case):
    """The objects of the newest commit are gone, so that git would fetch them, as configured."""
    obedient(case)
    shutil.rmtree(case.live / "objects")
    (case.live / "objects").mkdir()


def in_lab(change):
    """A change of what came back."""
    return lambda case: change(case.restore())


def loose(case):
    """A folder of loose objects in the lab."""
    return next(path for path in (case.repository / "objects").iterdir() if len(path.name) == 2)


def swapped(path, make):
    path.rename(path.with_name("away"))
    make(path)


def further_out(case):
    """A link to a folder of the lab, in which a link leads out."""
    (case.lab / "other").mkdir()
    (case.lab / "other/far").symlink_to(case.outside.directory)
    swapped(loose(case), lambda path: path.symlink_to(case.lab / "other"))


def monstrous(case):
    packed = case.repository / "packed-refs"
    packed.touch()
    os.truncate(packed, 3 << 30)


PASSES = "1 repositories, 2 references, every object they need"
CASES = {
    "hooks, filters, helpers and programs in its configuration": (obedient, PASSES),
    "the same, and objects that git would fetch": (lost_main, "invalid sha1 pointer"),
    "an object that is a pipe": (in_lab(lambda case: os.mkfifo(loose(case) / ("a" * 38))), "is a special file"),
    "an object that is a link out": (
        in_lab(lambda case: (loose(case) / ("a" * 38)).symlink_to(case.outside.file)),
        "leads out of the lab",
    ),
    "objects behind two links": (in_lab(further_out), "leads out of the lab"),
    "alternates that are a pipe": (
        in_lab(lambda case: os.mkfifo(case.repository / "objects/info/alternates")),
        "is a special file",
    ),
    "alternates that are a link out": (
        in_lab(lambda case: (case.repository / "objects/info/alternates").symlink_to(case.outside.file)),
        "leads out of the lab",
    ),
    "alternates that name a directory outside": (
        in_lab(lambda case: (case.repository / "objects/info/alternates").write_text(f"{case.outside.directory}\n")),
        "leads out of the lab",
    ),
    "packed references that are a pipe": (
        in_lab(lambda case: swapped(case.repository / "packed-refs", os.mkfifo)),
        "is a special file",
    ),
    "packed references that are a link out": (
        in_lab(lambda case: swapped(case.repository / "packed-refs", lambda path: path.symlink_to(case.outside.file))),
        "leads out of the lab",
    ),
    "references behind a link out": (
        in_lab(lambda case: swapped(case.repository / "refs", lambda path: path.symlink_to(case.outside.root))),
        "refs/heads/main is at nothing",
    ),
    "three gigabytes of packed references": (in_lab(monstrous), "is larger than"),
    "itself a link out": (
        in_lab(lambda case: swapped(case.repository, lambda path: path.symlink_to(case.outside.directory))),
        "leads out of the lab",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_repository_that_was_made_to_do_harm(tmp_path, good, matrix, name):
    plant, words = CASES[name]
    case = Case(tmp_path, good)
    (case.live / "packed-refs").touch()
    (case.live / "objects/info").mkdir(exist_ok=True)
    plant(case)
    if case.recorded is None:
        case.restore()
    found = []
    grown = peak_growth(lambda: found.append(case.said()))
    matrix(HEADING, f"git: {name}", "git", found[0][:100])
    assert words in found[0]
    assert grown < 500_000_000


def test_a_folder_whose_name_is_a_second_line_borrows_nothing(tmp_path, good, matrix):
    """The objects of a repository outside would make up for those that are missing in the backup."""
    outside = tmp_path / "victim.git"
    shutil.copytree(good, outside)
    case = Case(tmp_path, good, name=f"x\n{outside}")
    case.restore()
    shutil.rmtree(case.repository / "objects")
    (case.repository / "objects").mkdir()
    shown = case.said()
    matrix(HEADING, "git: a folder whose name is a line of alternates", "git", shown[:100])
    assert "invalid sha1 pointer" in shown


def test_a_repository_with_such_a_name_passes_when_it_is_whole(tmp_path, good):
    assert Case(tmp_path, good, name='quo"te\nand \\ \udcff.git').restore().said() == PASSES
