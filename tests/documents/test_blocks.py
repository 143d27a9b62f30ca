from __future__ import annotations

import pytest

from tests.documents.blocks import Block, blocks

TEXT = """\
Text with `code`.

```bash
echo one   # a comment
```

<!-- needs: docker -->

```sh
docker ps
```
<!-- long -->
```bash
A=1 .venv/bin/hime train --data PHOTOS \\
    --out 'a b'
```

```console
$ echo two
two
```

```
plain
```
"""


def test_blocks_are_found_with_their_marks():
    one, docker, train, console, plain = blocks(TEXT)
    assert one == Block(3, "bash", "echo one   # a comment\n")
    assert (docker.mark, docker.what, docker.line) == ("needs", "docker", 9)
    assert train.mark == "long" and train.commands == [[".venv/bin/hime", "train", "--data", "PHOTOS", "--out", "a b"]]
    assert console.script == "echo two\n" and console.is_shell
    assert not plain.language and not plain.is_shell


@pytest.mark.parametrize("mark", ["<!-- needs: luck -->", "<!-- short -->"])
def test_an_unknown_mark_is_refused(mark):
    with pytest.raises(ValueError, match="no block is marked"):
        list(blocks(f"{mark}\n```bash\ntrue\n```\n"))


def test_other_comments_are_none():
    assert [one.mark for one in blocks("<!-- made by a program: leave it -->\n\n```bash\ntrue\n```\n")] == [""]
