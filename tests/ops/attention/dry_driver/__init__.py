"""The attention's launchers on a stand-in for Triton's driver, ``benchmarks.compiled.attention``:
bars for what they launch, what it is compiled to and what it costs the host."""
