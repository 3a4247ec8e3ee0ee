--- Draws the rest of a suggestion after the cursor, as virtual text.

local M = {}

local namespace = vim.api.nvim_create_namespace("mercury")

--- Define the highlight groups; by default they are those of Neovim's own ghost text, if it has them.
function M.colors()
  local own = vim.fn.hlexists("ComplHint") == 1
  vim.api.nvim_set_hl(0, "MercuryGhost", { link = own and "ComplHint" or "NonText", default = true })
  vim.api.nvim_set_hl(0, "MercuryGhostMore", { link = own and "ComplHintMore" or "MoreMsg", default = true })
end

--- Replace tabs by blanks, because virtual text has no tab stops.
---@param text string
---@param column integer the text's first column on the screen
local function expand_tabs(text, column)
  local expanded = ""
  for piece, tab in text:gmatch("([^\t]*)(\t?)") do
    expanded = expanded .. piece
    if tab ~= "" then
      local at = column + vim.fn.strdisplaywidth(expanded)
      expanded = expanded .. (" "):rep(vim.bo.tabstop - at % vim.bo.tabstop)
    end
  end
  return expanded
end

--- Draw the rest of a suggestion, and after it a `hint`, such as its number among several.
---@param suggestion mercury.Suggestion
---@param rest string
---@param hint? string
function M.show(suggestion, rest, hint)
  M.hide(suggestion.buf)
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  local tail, replaced = suggestion.tail, suggestion.tail:sub(1, suggestion.replaced)
  if replaced ~= "" and #rest > #replaced and vim.endswith(rest, replaced) and not rest:find("\n") then
    -- The end of the rest is already in the buffer.
    rest, replaced = rest:sub(1, -#replaced - 1), ""
  end
  local text_after = tail:sub(#replaced + 1)
  local lines = vim.split(rest, "\n", { plain = true })
  local overlays = replaced ~= "" or #lines > 1 and text_after ~= ""
  local column = vim.fn.virtcol(".") - 1
  local drawn = {} ---@type [string, string][][]
  for i, line in ipairs(lines) do
    drawn[i] = { { expand_tabs(line, i == 1 and column or 0), "MercuryGhost" } }
  end
  if overlays then
    -- Draw the text after the cursor at its place after an acceptance.
    table.insert(drawn[#drawn], { expand_tabs(text_after, 0), "Normal" })
    local width = 0
    for _, chunk in ipairs(drawn[1]) do
      width = width + vim.fn.strdisplaywidth(chunk[1])
    end
    local blank = math.max(0, vim.fn.strdisplaywidth(tail, column) - width)
    table.insert(drawn[1], { (" "):rep(blank), "Normal" })
  end
  if hint then
    table.insert(drawn[#drawn], { hint, "MercuryGhostMore" })
  end
  vim.api.nvim_buf_set_extmark(suggestion.buf, namespace, row - 1, col, {
    virt_text = drawn[1],
    virt_text_pos = overlays and "overlay" or "inline",
    virt_lines = vim.list_slice(drawn, 2),
    hl_mode = "combine",
  })
end

--- Remove the ghost text of a buffer.
---@param buf integer
function M.hide(buf)
  if vim.api.nvim_buf_is_valid(buf) then
    vim.api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

return M
