"""What holds the calls of our functions to their annotations while tests run."""

from beartype import BeartypeConf, beartype

# As PEP 484 says, an int is fine where a float is expected.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
