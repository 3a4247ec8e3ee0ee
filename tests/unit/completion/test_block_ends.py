"""An `end` that ends nothing is cut off, and one that somebody needs never is. ¦ is the cursor."""

from __future__ import annotations

from random import Random

import pytest
from test_postprocess import text_of

from mercury_lsp.completion.fitting import block_ends
from mercury_lsp.completion.fitting.insertion import InsertionPoint
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax

CALL = "class A\n  def call\n    @validator.call\n  end¦\nend\n"
QUERY = "class A\n  def scm?(plugin)\n    plugin.respond_to¦\n  end\nend\n"
RUBY = """\
module Deploy
  class Plan < Base
    def initialize(servers, &block)
      @servers = servers.map do |server|
        Server.new(server)
      end
      if block
        instance_eval(&block)
      elsif servers.empty?
        raise ArgumentError
      end
    end

    def each
      return enum_for(:each) unless block_given?
      @servers.each { |server| yield server }
      value = case @kind
              when :a then 1
              else 2
              end
      begin
        run value
      rescue Error => e
        warn e
      end
    end
    private def empty; end
  end
end
"""
LUA = "local M = {}\nfunction M.f(x)\n  if x then\n    g(function(y)\n      return y\n    end)\n  end\nend\nreturn M\n"


@pytest.mark.parametrize(
    ("language_id", "marked", "text", "shown"),
    [
        ("ruby", CALL, "\n\n  end", None),
        ("ruby", QUERY, "?(:scm?) && plugin.scm?\n\n    end", "?(:scm?) && plugin.scm?"),
        ("ruby", "def f(x)\n  if x¦\nend\n", "\n    g(x)\n  end", "\n    g(x)\n  end"),
        ("ruby", "def f(x)\n  x.each do |y|¦\nend\n", "\n    g(y)\n  end", "\n    g(y)\n  end"),
        ("lua", "function f(x)\n  g(x)¦\nend\n", "\n  end", None),
    ],
)
def test_an_end_ends_what_is_open(language_id: str, marked: str, text: str, shown: str | None) -> None:
    assert text_of(language_id, marked, text) == shown


@pytest.mark.parametrize(("language_id", "code"), [("ruby", RUBY), ("lua", LUA)])
def test_no_end_of_real_code_is_cut(language_id: str, code: str) -> None:
    random, lines = Random(1), code.splitlines()
    for _ in range(200):
        first = random.randrange(len(lines) - 1)
        last = random.randrange(first + 1, len(lines))
        left = "\n".join(lines[: first + 1])
        document = Document("file:///a", "a", language_id, 1, "\n".join([left, *lines[last + 1 :]]))
        text = "".join(f"\n{line}" for line in lines[first + 1 : last + 1])
        assert block_ends.without_surplus_end(text, InsertionPoint(Syntax.of(document), len(left))) == text
