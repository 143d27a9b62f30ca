"""`hime demo`: a relay, and a clip of somebody who moves away from the camera."""
