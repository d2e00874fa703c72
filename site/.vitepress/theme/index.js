import Theme from "vitepress/theme"
// eslint-disable-next-line no-restricted-syntax -- a style sheet, which is no module
import "./style.css"

export default Theme
