"""Opens the keystore file of the lanes: Web3 Secret Storage version 3, one JSON object or an array of them.

Secrets never appear in a repr or an error's text.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from Crypto.Cipher import AES
from Crypto.Util import Counter

from chain.keccak import keccak256
from chain.signing import KeySigner

# OpenSSL refuses scrypt above 32 MiB unless told otherwise; n = 2^18, r = 8 (geth's standard) takes 256 MiB.
_SCRYPT_MEMORY_BYTES = 1 << 30
# For keys we write ourselves: geth's "light" setting, 4 MiB and a few milliseconds per key.
_LIGHT_SCRYPT = {"n": 4096, "r": 8, "p": 6, "dklen": 32}


class KeystoreError(Exception):
    """The keystore file can't be used: missing, not of version 3, or the password doesn't open it."""


def load_signers(path: Path, password: str) -> list[KeySigner]:
    """The signers of all keys in the file, in its order.

    Raises:
        KeystoreError: see the class.
    """
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as fault:
        raise KeystoreError(f"keystore {path}: {fault}") from fault
    entries = content if isinstance(content, list) else [content]
    return [KeySigner(_decrypt(entry, password, f"keystore {path}, key {n}")) for n, entry in enumerate(entries, 1)]


def write_keystore(path: Path, private_keys: list[bytes], password: str) -> None:
    """Writes the keys, encrypted, readable by the file's owner alone."""
    entries = [encrypt_key(key, password) for key in private_keys]
    path.touch(mode=0o600)
    path.write_bytes(orjson.dumps(entries, option=orjson.OPT_INDENT_2))


def encrypt_key(private_key: bytes, password: str) -> dict[str, Any]:
    """One key as a version 3 object."""
    salt, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    derived = _scrypt(password, salt, _LIGHT_SCRYPT)
    ciphertext = _aes_ctr(derived[:16], iv, private_key)
    return {
        "version": 3,
        "id": str(uuid4()),
        "address": KeySigner(private_key).address.hex(),
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": iv.hex()},
            "ciphertext": ciphertext.hex(),
            "kdf": "scrypt",
            "kdfparams": {**_LIGHT_SCRYPT, "salt": salt.hex()},
            "mac": keccak256(derived[16:32] + ciphertext).hex(),
        },
    }


def _decrypt(entry: Any, password: str, where: str) -> bytes:
    try:
        crypto = entry["crypto"]
        if entry["version"] != 3 or crypto["cipher"] != "aes-128-ctr":
            raise KeystoreError(f"{where}: only version 3 with aes-128-ctr is known")
        derived = _derived_key(crypto, password, where)
        ciphertext = bytes.fromhex(crypto["ciphertext"])
        iv, mac = bytes.fromhex(crypto["cipherparams"]["iv"]), bytes.fromhex(crypto["mac"])
    except (KeyError, TypeError, ValueError) as fault:
        raise KeystoreError(f"{where}: not a version 3 key ({type(fault).__name__})") from None
    if not hmac.compare_digest(keccak256(derived[16:32] + ciphertext), mac):
        raise KeystoreError(f"{where}: the password doesn't open it")
    return _aes_ctr(derived[:16], iv, ciphertext)


def _derived_key(crypto: dict[str, Any], password: str, where: str) -> bytes:
    parameters = crypto["kdfparams"]
    salt = bytes.fromhex(parameters["salt"])
    if crypto["kdf"] == "scrypt":
        return _scrypt(password, salt, parameters)
    if crypto["kdf"] == "pbkdf2" and parameters["prf"] == "hmac-sha256":
        return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, parameters["c"], parameters["dklen"])
    raise KeystoreError(f"{where}: unknown key derivation")


def _scrypt(password: str, salt: bytes, parameters: dict[str, Any]) -> bytes:
    return hashlib.scrypt(
        password.encode(),
        salt=salt,
        n=parameters["n"],
        r=parameters["r"],
        p=parameters["p"],
        dklen=parameters["dklen"],
        maxmem=_SCRYPT_MEMORY_BYTES,
    )


def _aes_ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    counter = Counter.new(128, initial_value=int.from_bytes(iv, "big"))
    return AES.new(key, AES.MODE_CTR, counter=counter).encrypt(data)
