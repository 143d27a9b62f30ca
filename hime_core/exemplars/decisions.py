"""What a bank decides, by names; apart from it, for those who count and load no network."""

# What becomes of a face of the call: taken; replaced later by a better or newer one; given over to another person,
# whose face it is; or refused at once, and why.
DECISIONS = (
    "taken",
    "replaced",
    "another_person",
    "poorer",
    "blurred",
    "small",
    "moving",
    "turned",
    "cut_off",
    "uncertain",
    "implausible",
)
