"""What `homelab devlab demo` refuses; it is played in `slow/test_demo.py`."""


def test_it_leaves_a_directory_alone_that_is_not_its_own(site, start):
    mine = site.root / ".homelab" / "devlab" / "mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("keep")
    demo = start("devlab", "demo")
    assert demo.end() == 1 and "was not made by the lab" in demo.said()
    assert mine.read_text() == "keep" and len(list(mine.parent.iterdir())) == 1
