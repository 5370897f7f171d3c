// The looks of pages, charts and tables, in one place: everything else names classes.

#ifndef LONGRANGE_COMMON_REPORT_STYLE_H_
#define LONGRANGE_COMMON_REPORT_STYLE_H_

namespace longrange {
namespace report {

// CSS for screens, light and dark by the reader's setting, and for paper, always light. It holds no
// '<' and no '&', so it may stand in XML.
const char* StyleSheet();

}  // namespace report
}  // namespace longrange

#endif  // LONGRANGE_COMMON_REPORT_STYLE_H_
