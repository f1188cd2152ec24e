"""What ``SCAR`` says of its registry, and files of old versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scvi.model.base._constants import SAVE_KEYS

from isthmus.compat.scvi.asking import Asks
from isthmus.errors import InputError

_LEGACY = (SAVE_KEYS.LEGACY_MODEL_FNAME, SAVE_KEYS.LEGACY_VAR_NAMES_FNAME, SAVE_KEYS.LEGACY_SETUP_DICT_FNAME)


class Registers(Asks):
    """Registry and conversion."""

    @property
    def _registry(self) -> dict[str, Any]:
        """What update_setup_method_args of scvi-tools 1.4 looks for."""
        return self.registry_

    def view_registry(self, hide_state_registries: bool = False) -> None:  # noqa: FBT001, FBT002
        """Print the registry: the same as `view_anndata_setup` of the data that the model holds."""
        self.view_anndata_setup(hide_state_registries=hide_state_registries)

    @classmethod
    def convert_legacy_save(
        cls,
        dir_path: str,
        output_dir_path: str,
        overwrite: bool = False,  # noqa: FBT001, FBT002
        prefix: str | None = None,
        **save_kwargs: Any,
    ) -> None:
        """Files of scvi-tools before 0.15 in the form that `load` reads; attr.pkl is a pickle: trust its source."""
        missing = [name for name in _LEGACY if not (Path(dir_path) / f"{prefix or ''}{name}").exists()]
        if missing:
            msg = (
                f"`dir_path` must hold files of scvi-tools before 0.15, {', '.join(_LEGACY)}; got {str(dir_path)!r}, "
                f"which lacks {', '.join(missing)}. Models of later versions need no conversion: use `load`."
            )
            raise InputError(msg)
        super().convert_legacy_save(str(dir_path), str(output_dir_path), overwrite, prefix, **save_kwargs)
