"""Says what the program wrote in English in another language: for reports, shared pages and the sign-in page.

The page itself is exchanged in the browser (`assets/texts/translate.js`), by the same dictionaries and the same rules.
"""
