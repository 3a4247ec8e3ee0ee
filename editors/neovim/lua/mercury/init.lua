--- Mercury in Neovim 0.12: names the server to Neovim's own LSP client, turns its ghost text on, and maps the key that
--- accepts it. Knows nothing of suggestions; Neovim asks for them and draws them.

local M = {}

---@class mercury.Options
---@field cmd? string[] the server and its arguments
---@field settings? table<string, any> the server's options, by the names in its README
---@field filetypes? string[] where it runs; every file type if nil
---@field accept? string|false the key in insert mode that accepts; false maps none

---@type mercury.Options
local defaults = {
  cmd = { "mercury-lsp", "--stdio" },
  settings = {},
  accept = "<Tab>",
}

--- Accept the ghost text; where there is none, do what Neovim's own <Tab> does. For a mapping with `expr`.
---@param key string
---@return string keys to type instead
local function accept_or(key)
  if vim.lsp.inline_completion.get() then
    return ""
  elseif key == "<Tab>" and vim.snippet.active({ direction = 1 }) then
    return "<Cmd>lua vim.snippet.jump(1)<CR>"
  end
  return key
end

--- Start the server for the files that are opened from now on, and for those that are open.
---@param options? mercury.Options
function M.setup(options)
  if not (vim.lsp.config and vim.lsp.inline_completion) then
    vim.notify("mercury: Neovim 0.12 or newer is needed.", vim.log.levels.ERROR)
    return
  end
  local chosen = vim.tbl_extend("force", defaults, options or {})
  vim.lsp.config("mercury", {
    cmd = chosen.cmd,
    filetypes = chosen.filetypes,
    root_markers = { ".git" },
    settings = { mercury = chosen.settings },
  })
  vim.lsp.enable("mercury")
  vim.lsp.inline_completion.enable(true)
  if chosen.accept then
    vim.keymap.set("i", chosen.accept, function()
      return accept_or(chosen.accept)
    end, { expr = true, desc = "Accept the ghost text" })
  end
end

return M
