"""Packed models on the Hugging Face Hub; needs the extra `hub`."""

from pathlib import Path

from pony_jax.reconstruction.learned import Learned, ModelError
from pony_jax.reconstruction.model_card import card_as_text
from pony_jax.reconstruction.pony_file import write_pony

MODEL_FILE = "model.pony"


def download(repository: str) -> Path:
    """The model file of `OWNER/NAME`, from the local cache if it is there already.

    Raises `ModelError` if there is no such model or it cannot be reached.
    """
    hub = _library()
    try:
        return Path(hub.hf_hub_download(repo_id=repository, filename=MODEL_FILE))
    except (OSError, ValueError) as error:  # the library's own errors are of these kinds
        raise ModelError(_failed(f"expected {MODEL_FILE} at hf://{repository}", error)) from error


def push_to_hub(learned: Learned, repository: str, folder: Path, private: bool = False) -> str:
    """Uploads a model and its card to `OWNER/NAME`, which is made if it is not there.

    Args:
      folder: empty folder that the files are written to first.

    Returns:
      The address of the commit.

    Raises:
      ModelError: if it cannot be reached or may not be written.
    """
    hub = _library()
    write_pony(learned, folder / MODEL_FILE)
    (folder / "README.md").write_text(card_as_text(learned), encoding="utf-8")
    try:
        api = hub.HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        commit = api.upload_folder(repo_id=repository, folder_path=folder)
    except (OSError, ValueError) as error:
        raise ModelError(_failed(f"expected to write to hf://{repository}", error)) from error
    return str(commit)


def _failed(expected: str, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return (
        f"{expected}, got {type(error).__name__}: {reason:.200}; check name, connection and token"
    )


def _library():
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise ModelError(
            "hf:// models need huggingface_hub; install it: pip install 'pony_jax[hub]'"
        ) from error
    return huggingface_hub
