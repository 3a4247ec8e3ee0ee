--- The plugin's options: defaults, types, and the validation of the user's values. The server's own options are passed
--- on as a table and are not validated here.

local M = {}

---@class mercury.Keys keys in insert mode, and two in normal mode; each is a key, a list of keys, or false for no key
---@field accept string|string[]|false accept the whole ghost text
---@field accept_word string|string[]|false accept its next word
---@field accept_line string|string[]|false accept the rest of its line
---@field next string|string[]|false show the next suggestion
---@field previous string|string[]|false show the previous suggestion
---@field ask string|string[]|false request suggestions manually, also at places without automatic suggestions
---@field dismiss string|string[]|false dismiss the ghost text
---@field next_edit string|string[]|false in normal mode: jump to the next edit, then make it
---@field dismiss_edit string|string[]|false in normal mode: dismiss the next edit

---@class mercury.Options
---@field cmd? string[] the server and its arguments; mercury-lsp of the PATH if nil
---@field settings? table<string, any> the server's options, by the names in its docs/configuration.md
---@field filetypes? string[] the file types that the server is started for; all if nil
---@field root_markers? string[] files and folders that mark a project's root
---@field engine? "drawn"|"native" whether this plugin or Neovim 0.12 requests and draws ghost text
---@field debounce_ms? integer this plugin's debounce before a request; Neovim's own is 200
---@field menu? "beside"|"hide" whether ghost text is shown while a completion menu is open
---@field next_edit? boolean whether the next edit is requested and drawn
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

--- Return the problem of a value as the end of a sentence, or nil if the value is valid.
---@return string?
local function find_problem(name, value)
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

--- Return the options, with defaults for missing and invalid values, and a sentence for each invalid value.
---@param user_options? mercury.Options
---@return mercury.Options, string[]
function M.read(user_options)
  local valid, problems = {}, {}
  for name, value in pairs(user_options or {}) do
    local problem = find_problem(name, value)
    if problem then
      table.insert(problems, ("%s %s."):format(name, problem))
    else
      valid[name] = value
    end
  end
  if valid.keys == false then
    valid.keys = {}
    for action in pairs(M.defaults.keys) do
      valid.keys[action] = false
    end
  end
  for action in pairs(valid.keys or {}) do
    if M.defaults.keys[action] == nil then
      table.insert(problems, ("keys.%s is no action."):format(action))
      valid.keys[action] = nil
    end
  end
  local options = vim.tbl_deep_extend("force", M.defaults, valid)
  options.cmd = options.cmd or M.cmd
  return options, problems
end

return M
