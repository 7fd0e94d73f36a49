"""Where photos are kept: a directory, or an object store."""

from obstore.store import LocalStore, ObjectStore, from_url

from infra.settings import Settings


def photo_store(settings: Settings) -> ObjectStore:
    """Open the store that *settings* name; nothing is read."""
    if settings.photo_store:
        return from_url(settings.photo_store)
    return LocalStore(prefix=settings.data_dir / "photos", mkdir=True)
