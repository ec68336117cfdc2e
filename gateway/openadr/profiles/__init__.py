"""Profiles as data: what a grid partner's objects must look like, what they mean here, and which reports it wants.

A profile is a TOML pack in `config/profiles`: rules out of a small closed set, each with an id, a sentence and a source; a mapping
from the profile's payload types to those of OpenADR; the reports it asks for. `pack.py` says what a pack may hold, `loading.py`
reads it strictly, `checking.py` holds JSON objects against it, `gate.py` is what a VEN asks before it uses an object.
"""

from gateway.openadr.profiles.checking import CheckReport, Finding, check_bundle, check_object
from gateway.openadr.profiles.gate import Admission, ProfileGate
from gateway.openadr.profiles.loading import load_profile, profile_names
from gateway.openadr.profiles.pack import Profile

__all__ = [
    "Admission",
    "CheckReport",
    "Finding",
    "Profile",
    "ProfileGate",
    "check_bundle",
    "check_object",
    "load_profile",
    "profile_names",
]
