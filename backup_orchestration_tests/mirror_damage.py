"""Damage to a mirror, seeded: what is done to one stored object, and put back."""

import gzip
import hashlib
import json
import os
import random

from backup_orchestration.core.errors import UnknownSnapshotError
from backup_orchestration.providers.mirror.layout import Seal
from backup_orchestration_tests.mirrors import MirrorSite


def two_mirrors(new_directory, moto):
    """One snapshot copied on the server, and one that went through here; each with objects of every kind."""
    made = {}
    for way, host in (("server", "127.0.0.1"), ("here", "localhost")):
        site = MirrorSite(new_directory("damage"), moto.url)
        for number in range(6):
            site.put(f"small/{number}", os.urandom(200), Metadata={"n": str(number)}, Tagging=f"t={number}")
        for number in range(3):
            sizes = [4096] * 3 + [100 + number]
            site.put_parts(f"parts/{number}", sizes, Metadata={"n": str(number)}, Tagging=f"t={number}")
        site.put("empty", b"")
        site.configure(source_url=moto.url.replace("127.0.0.1", host))
        snapshot = site.backup()
        manifest = site.store.get_object(Bucket=site.backups, Key=site.prefix(snapshot) + "manifest.jsonl.gz")["Body"]
        kinds = {json.loads(line)["digest"].partition(":")[0] for line in gzip.decompress(manifest.read()).splitlines()}
        assert kinds == ({"md5", "parts"} if way == "server" else {"sha256"})
        assert site.restore_test().passed
        made[way] = site, snapshot
    return made


class Damage:
    """One change to one stored object; what it was is put back afterwards."""

    def __init__(self, site, snapshot, chance):
        self.site, self.snapshot, self.prefix, self.chance = site, snapshot, site.prefix(snapshot), chance
        self.saved, self.added = {}, []

    def _now(self, name):
        answer = self.site.store.get_object(Bucket=self.site.backups, Key=self.prefix + name)
        tags = self.site.store.get_object_tagging(Bucket=self.site.backups, Key=self.prefix + name)["TagSet"]
        tagging = "&".join(f"{tag['Key']}={tag['Value']}" for tag in tags)
        return answer["Body"].read(), answer["ContentType"], answer["Metadata"], tagging

    def read(self, name):
        """What a name holds now, kept to be put back."""
        return self.saved.setdefault(name, self._now(name))

    def write(self, name, body, content_type, metadata, tagging):
        self.site.store.put_object(
            Bucket=self.site.backups, Key=self.prefix + name, Body=body,
            ContentType=content_type, Metadata=metadata, Tagging=tagging,
        )  # fmt: skip

    def change(self, name, **parts):
        names = ("body", "content_type", "metadata", "tagging")
        self.write(name, **{**dict(zip(names, self.read(name), strict=True)), **parts})

    def undo(self):
        for name in self.added:
            self.site.store.delete_object(Bucket=self.site.backups, Key=self.prefix + name)
        for name, found in self.saved.items():
            self.write(name, *found)

    def changed(self):
        """Whether anything is other than it was: a swap of what is equal is no damage."""
        there = self.site.stored(self.snapshot)
        return self.added or any(name not in there or self._now(name) != was for name, was in self.saved.items())

    def a_name(self):
        return self.chance.choice([f"data/small/{n}" for n in range(6)] + [f"data/parts/{n}" for n in range(3)])

    def flip(self):
        name = self.a_name()
        body = bytearray(self.read(name)[0])
        body[self.chance.randrange(len(body))] ^= 1 << self.chance.randrange(8)
        self.change(name, body=bytes(body))

    def truncate(self):
        name = self.a_name()
        body = self.read(name)[0]
        self.change(name, body=body[: self.chance.randrange(len(body))])

    def swap(self):
        kind = self.chance.choice(["data/small/{}", "data/parts/{}"])
        first, second = (kind.format(number) for number in self.chance.sample(range(3), 2))
        one, other = self.read(first), self.read(second)
        self.write(first, *other)
        self.write(second, *one)

    def lose(self):
        name = self.a_name()
        self.read(name)
        self.site.store.delete_object(Bucket=self.site.backups, Key=self.prefix + name)

    def add(self):
        self.added.append(f"data/{self.chance.choice(['small', 'new'])}/{self.chance.randrange(100, 999)}")
        self.write(self.added[-1], b"stranger", "text/plain", {}, "")

    def rename(self):
        name = self.a_name()
        self.added.append(f"{name}-{self.chance.randrange(1000)}")
        self.write(self.added[-1], *self.read(name))
        self.site.store.delete_object(Bucket=self.site.backups, Key=self.prefix + name)

    def retype(self):
        self.change(self.a_name(), content_type="text/other")

    def relabel(self):
        self.change(self.a_name(), metadata=self.chance.choice([{}, {"n": "77"}, {"n": "0", "m": "1"}]))

    def retag(self):
        self.change(self.a_name(), tagging=self.chance.choice(["", "t=77", "t=1&u=2"]))

    def edit_manifest(self):
        lines = gzip.decompress(self.read("manifest.jsonl.gz")[0]).splitlines(keepends=True)
        kind = self.chance.randrange(3)
        if kind == 0:
            del lines[self.chance.randrange(len(lines))]
        elif kind == 1:
            lines.insert(self.chance.randrange(len(lines)), self.chance.choice(lines))
        else:
            lines[-1] = lines[-1].replace(b'"n":', b'"o":')
        self.change("manifest.jsonl.gz", body=gzip.compress(b"".join(lines)))

    def forge(self):
        """An object less, a manifest without it, and a COMPLETE that fits, by somebody who has not the password."""
        lines = gzip.decompress(self.read("manifest.jsonl.gz")[0]).splitlines(keepends=True)
        gone = json.loads(lines.pop(self.chance.randrange(len(lines))))
        self.read(gone["name"])
        self.site.store.delete_object(Bucket=self.site.backups, Key=self.prefix + gone["name"])
        body = gzip.compress(b"".join(lines))
        self.change("manifest.jsonl.gz", body=body)
        read = json.loads(self.read("COMPLETE")[0])
        read["record"] |= {"manifest_sha256": hashlib.sha256(body).hexdigest(), "objects": len(lines)}
        read["record"]["bytes"] -= gone["size"]
        sealed = json.dumps(read).encode() if self.chance.random() < 0.5 else Seal("guessed").seal(read["record"])
        self.change("COMPLETE", body=sealed)


KINDS = (
    "flip", "truncate", "swap", "lose", "add", "rename", "retype", "relabel", "retag", "edit_manifest", "forge",
)  # fmt: skip


def red(site, snapshot):
    """Why nothing of this proves the snapshot; None: it was found good."""
    try:
        evidence = site.restore_test(snapshot.key)
    except UnknownSnapshotError:
        assert len(site.repository.unlisted()) == 1
        return "no snapshot"
    return None if evidence.passed else evidence.reason


def require_red(mirrors, kind, count):
    """Do so much damage of one kind, half of it to either snapshot: each must be seen."""
    chance = random.Random(f"damage {kind}")
    for number in range(count):
        site, snapshot = mirrors[("server", "here")[number % 2]]
        damage = Damage(site, snapshot, chance)
        try:
            getattr(damage, kind)()
            if damage.changed():
                assert red(site, snapshot), f"{kind} {number}"
        finally:
            damage.undo()
