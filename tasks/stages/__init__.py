"""Each stage has one thin module: it reads inputs, calls the domain, and writes outputs."""
