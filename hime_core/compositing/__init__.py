"""Enhanced faces into pictures: detail, layouts, rendering."""
