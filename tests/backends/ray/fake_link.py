"""A ray link as the controller starts it, with a Ray that is no real one."""

import sys

from fake_ray import FakeRay, hands_of

from sentinel.backends.ray import link_process

if __name__ == "__main__":
    link_process.RayHands = lambda _address: hands_of(FakeRay(0.3))  # type: ignore[assignment, misc]
    del sys.argv[0]  # what was to be run
    link_process.main()
