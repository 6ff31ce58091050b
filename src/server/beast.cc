// What of Boost.Beast is no template, in one place: the loop that unmasks frames is optimised here,
// and the sources of the sessions compile faster.

#include <boost/beast/src.hpp>
#include <utility>  // Boost 1.74's headers forget it
