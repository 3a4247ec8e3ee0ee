--- The plugin's options: their defaults, their types, and how what a user gives becomes them. Knows no more of the
--- server's own options than that they are a table.

local M = {}

---@class mercury.Keys keys in insert mode, and two in normal mode; a list of keys, or false for none, may stand in each place
---@field accept string|string[]|false all of the ghost text
---@field accept_word string|string[]|false its next word
---@field accept_line string|string[]|false the rest of its line
---@field next string|string[]|false another suggestion
---@field previous string|string[]|false the one before
---@field ask string|string[]|false ask for suggestions now, also where none would come unasked
---@field dismiss string|string[]|false take the ghost text away
---@field next_edit string|string[]|false in normal mode: jump to the next edit, then make it
---@field dismiss_edit string|string[]|false in normal mode: dismiss the next edit

---@class mercury.Options
---@field cmd? string[] the server and its arguments; mercury-lsp of the PATH if nil
---@field settings? table<string, any> the server's options, by the names in its docs/configuration.md
---@field filetypes? string[] where it runs; every file type if nil
---@field root_markers? string[] files and folders by which a project's root is known
---@field engine? "drawn"|"native" who asks and draws: this plugin, or Neovim 0.12
---@field debounce_ms? integer how long this plugin waits for further typing before it asks; Neovim waits 200
---@field menu? "beside"|"hide" whether ghost text is shown while a completion menu is open
---@field next_edit? boolean whether the next edit is looked for and drawn
---@field keys? mercury.Keys|false

---@type mercury.Options
M.defaults = {
  settings = {},
  root_markers = { ".git" },
  engine = "drawn",
  debounce_ms = 30,
  menu = "beside",
  next_edit = true,
  keys = {
    accept = "<Tab>",
    accept_word = "<M-Right>",
    accept_line = "<M-C-Right>",
    next = "<M-]>",
    previous = "<M-[>",
    ask = "<M-\\>",
    dismiss = "<C-]>",
    next_edit = "<Tab>",
    dismiss_edit = "<Esc>",
  },
}

M.cmd = { "mercury-lsp", "--stdio" }

local types = {
  cmd = "table",
  settings = "table",
  filetypes = "table",
  root_markers = "table",
  engine = { "drawn", "native" },
  debounce_ms = "number",
  menu = { "beside", "hide" },
  next_edit = "boolean",
  keys = "table",
}

--- What is wrong with a value, as the end of a sentence; nil where it is right.
---@return string?
local function wrong(name, value)
  local expected = types[name]
  if expected == nil then
    return "is no option of this plugin (the server's own go into settings)"
  elseif name == "keys" and value == false then
    return nil
  elseif type(expected) == "table" then
    if not vim.list_contains(expected, value) then
      return "must be one of " .. table.concat(expected, ", ")
    end
  elseif type(value) ~= expected then
    return "must be a " .. expected
  end
end

--- The options, with defaults for what is missing or wrong; and a sentence for each that is wrong.
---@param given? mercury.Options
---@return mercury.Options, string[]
function M.read(given)
  local right, problems = {}, {}
  for name, value in pairs(given or {}) do
    local problem = wrong(name, value)
    if problem then
      table.insert(problems, ("%s %s."):format(name, problem))
    else
      right[name] = value
    end
  end
  if right.keys == false then
    right.keys = {}
    for action in pairs(M.defaults.keys) do
      right.keys[action] = false
    end
  end
  for action in pairs(right.keys or {}) do
    if M.defaults.keys[action] == nil then
      table.insert(problems, ("keys.%s is no action."):format(action))
      right.keys[action] = nil
    end
  end
  local options = vim.tbl_deep_extend("force", M.defaults, right)
  options.cmd = options.cmd or M.cmd
  return options, problems
end

return M
