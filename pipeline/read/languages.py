"""The programming language of a source file, by name, extension or interpreter; names are GitHub Linguist's.

Where an extension belongs to several languages, the one most files are in is meant: `.h` is C, `.m` Objective-C, `.v`
Verilog, `.pl` Perl, `.t` Perl (its tests), `.ts` TypeScript, `.r` R.
"""

from __future__ import annotations

import re

_EXTENSIONS = """
ABAP: abap
Ada: adb ads
Agda: agda
ActionScript: as
Assembly: asm s nasm
AsciiDoc: adoc asciidoc
Awk: awk
Batchfile: bat cmd
BitBake: bb
C: c h
C#: cs csx
C++: cc cpp cxx c++ hh hpp hxx h++ inl ipp tpp
CMake: cmake
COBOL: cob cbl cobol
CSS: css
CSV: csv
Clojure: clj cljc cljs edn
CoffeeScript: coffee
Common Lisp: lisp lsp
Crystal: cr
Cuda: cu cuh
Cython: pyx pxd pxi
D: d di
Dart: dart
Diff: diff patch
Dockerfile: dockerfile
EJS: ejs
Elixir: ex exs
Elm: elm
Emacs Lisp: el
Erlang: erl hrl
F#: fs fsi fsx
Fish: fish
Forth: fth 4th
Fortran: f for f77
Fortran Free Form: f90 f95 f03 f08
GLSL: glsl vert frag
Gettext Catalog: po pot
Go: go
GraphQL: graphql gql
Gradle: gradle
Groovy: groovy gvy
HCL: hcl tf tfvars
HTML: html htm xhtml
HTML+EEX: eex heex leex
Handlebars: hbs handlebars
Haskell: hs hsc
INI: ini cfg prefs
JSON: json geojson webmanifest
Java: java
Java Properties: properties
JavaScript: js mjs cjs jsx es6
Jinja: j2 jinja jinja2
Julia: jl
Jupyter Notebook: ipynb
Kotlin: kt kts
LLVM: ll
Lean: lean
Less: less
Linker Script: ld lds
Lua: lua
M4: m4
MDX: mdx
Makefile: mk mak make
Markdown: md markdown mkd
Meson: meson
Nim: nim nims
Nix: nix
OCaml: ml mli mll mly
Objective-C: m
Objective-C++: mm
OpenCL: opencl
PHP: php phpt php5
PLpgSQL: plpgsql
Pascal: pas pp dpr
Perl: pl pm t perl psgi
Pod: pod
PowerShell: ps1 psm1 psd1
Prolog: prolog pro
Protocol Buffer: proto
Pug: pug jade
Puppet: epp
PureScript: purs
Python: py pyi pyw
QML: qml
R: r
RPM Spec: spec
Racket: rkt
Raku: raku rakumod p6 pm6
ReasonML: re rei
Roff: roff man 1 2 3 4 5 6 7 8 9 1m 3pm
Ruby: rb rake gemspec ru erb
Rust: rs
SCSS: scss
SQL: sql
SVG: svg
Sass: sass
Scala: scala sc sbt
Scheme: scm ss sld
Shell: sh bash zsh ksh bats
Smalltalk: st
Solidity: sol
Standard ML: sml sig fun
Starlark: bzl star
Stylus: styl
Svelte: svelte
Swift: swift
SystemVerilog: sv svh
TOML: toml
TSV: tsv
TSX: tsx
Tcl: tcl tm
TeX: tex sty cls ltx
Texinfo: texi texinfo
Text: txt text
Twig: twig
TypeScript: ts mts cts
VHDL: vhd vhdl
Vala: vala vapi
Verilog: v vh
Vim Script: vim
Visual Basic .NET: vb
Vue: vue
WebAssembly: wat wast
XML: xml xsd xsl xslt rng plist csproj
YAML: yml yaml
Yacc: y yy
Lex: l lex
Zig: zig
reStructuredText: rst
"""

_NAMES = """
Makefile: makefile gnumakefile makefile.am makefile.in kbuild
CMake: cmakelists.txt
Dockerfile: dockerfile containerfile
Ruby: gemfile rakefile vagrantfile podfile
Groovy: jenkinsfile
Starlark: build.bazel workspace build
Meson: meson.build
M4Sugar: configure.ac configure.in
Go Module: go.mod
Go Checksums: go.sum
Ignore List: .gitignore .dockerignore .npmignore
Shell: .bashrc .profile .zshrc
Caddyfile: caddyfile
"""

_INTERPRETERS = """
Shell: sh bash dash zsh ksh
Python: python python2 python3
Perl: perl
Ruby: ruby
JavaScript: node nodejs
PHP: php
Lua: lua
Tcl: tclsh wish expect
Awk: awk gawk
Elixir: elixir
Makefile: make
R: rscript
"""


def _table(lines: str) -> dict[str, str]:
    rows = (line.split(": ") for line in lines.strip().splitlines())
    return {key: language for language, keys in rows for key in keys.split()}


EXTENSIONS = _table(_EXTENSIONS)
NAMES = _table(_NAMES)
INTERPRETERS = _table(_INTERPRETERS)
SHEBANG = re.compile(r"#![ \t]*\S*?(?:/env[ \t]+(?:-S[ \t]+)?)?([^/\s]+?)[\d.]*(?:\s|$)")


def language_of(name: str, text: str) -> str | None:
    """Return the language of a file by its name, else by its first line; None if neither says."""
    lower = name.lower()
    if lower in NAMES:
        return NAMES[lower]
    stem, dot, extension = lower.rpartition(".")
    if dot and stem and extension in EXTENSIONS:
        return EXTENSIONS[extension]
    if text.startswith("#!"):
        found = SHEBANG.match(text[:256])
        return INTERPRETERS.get(found[1].lower()) if found else None
    return None
