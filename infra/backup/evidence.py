"""What is in no topic and no table: photos, the secret of follow codes, reports that Kafka does not have yet."""

import os
import shutil
from pathlib import Path
from typing import Final

import obstore

from infra.backup.manifest import Draft, Manifest
from infra.photos import photo_store
from infra.settings import Settings

_PHOTOS: Final = "photos/"
_FILES: Final = "files/"
_PIECE_BYTES: Final = 1 << 20


def copy_intake(settings: Settings, draft: Draft) -> None:
    """Copy the files of the intake into *draft*, before the ends of topics are read.

    The spool may be written meanwhile: its receipts go first, so what the copy holds twice is
    sent twice and dropped by its id; a segment that is gone went to Kafka, and will be in the topics.
    """
    for found in _files(settings):
        try:
            source = found.open("rb")
        except FileNotFoundError:
            continue
        with source, draft.new(_FILES + str(found.relative_to(settings.data_dir))) as path, path.open("wb") as file:
            shutil.copyfileobj(source, file)


def copy_photos(settings: Settings, draft: Draft) -> int:
    """Copy photos into *draft*, after topics: a report's photo was there before it; return how many there are."""
    photos = 0
    store = photo_store(settings)
    for listed in obstore.list(store):
        for photo in listed:
            photos += 1
            with draft.new(_PHOTOS + photo["path"]) as path, path.open("wb") as file:
                for piece in obstore.get(store, photo["path"]).stream(_PIECE_BYTES):
                    file.write(piece)
    return photos


def _files(settings: Settings) -> list[Path]:
    spool = settings.data_dir / "spool"
    return [settings.data_dir / "follow.key", spool / "receipts", *sorted(spool.glob("*.seg"))]


def has_evidence(settings: Settings) -> bool:
    """Tell whether a photo or a spooled report is there."""
    spooled = any(path.stat().st_size for path in (settings.data_dir / "spool").glob("*.seg"))
    return spooled or any(listed for listed in obstore.list(photo_store(settings)))


def restore_evidence(settings: Settings, directory: Path, manifest: Manifest) -> None:
    """Put photos and files back; whatever was there is gone."""
    store = photo_store(settings)
    for listed in obstore.list(store):
        obstore.delete(store, [photo["path"] for photo in listed])
    for found in _files(settings):
        found.unlink(missing_ok=True)
    for kept in manifest.files:
        if kept.path.startswith(_PHOTOS):
            obstore.put(store, kept.path.removeprefix(_PHOTOS), directory / kept.path)
        elif kept.path.startswith(_FILES):
            _put_file(directory / kept.path, settings.data_dir / kept.path.removeprefix(_FILES))


def _put_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with source.open("rb") as reading, os.fdopen(opened, "wb") as writing:
        shutil.copyfileobj(reading, writing)
        writing.flush()
        os.fsync(writing.fileno())
